"""The contacts service: `python -m services.contacts`."""

from services.chassis.server import Furniture, Parts, serve
from services.contacts.contacts import Contacts
from services.contacts.interactions import Interactions
from services.contacts.schema import chassis
from services.contacts.settings import Settings
from vafa.contacts.v1 import contacts_pb2, interactions_pb2


def parts(furniture: Furniture) -> Parts:
    """Return what the service is made of."""
    return Parts(
        servicers={
            contacts_pb2.DESCRIPTOR.services_by_name["ContactService"]: Contacts(
                furniture.database
            ),
            interactions_pb2.DESCRIPTOR.services_by_name["InteractionService"]: Interactions(
                furniture.database
            ),
        }
    )


if __name__ == "__main__":
    serve("contacts", Settings.from_environment(), chassis, parts)
