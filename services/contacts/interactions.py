"""Serves interactions."""

from services.chassis.standard import Standard, Std
from services.contacts.resources import INTERACTION
from vafa.contacts.v1 import interactions_pb2


class Interactions(Standard[interactions_pb2.Interaction]):
    """Serves vafa.contacts.v1.InteractionService: added to and never changed."""

    resource = INTERACTION
    methods = frozenset({Std.GET, Std.LIST, Std.CREATE})
