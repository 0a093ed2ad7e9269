"""The first tables of the service."""

from services.chassis.first_tables import make_first_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    make_first_tables()
