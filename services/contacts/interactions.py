"""Serves interactions."""

from services.chassis.standard import Standard, Std
from services.contacts.resources import INTERACTION


class Interactions(Standard):
    """Serves vafa.contacts.v1.InteractionService: added to and never changed."""

    resource = INTERACTION
    methods = frozenset({Std.GET, Std.LIST, Std.CREATE})
