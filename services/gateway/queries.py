"""The hand-written SQL of the gateway."""

from sqlalchemy import Connection, select

from services.chassis.rows import Row
from services.gateway.schema import api_keys


def find_api_key(connection: Connection, api_key_id: str) -> Row | None:
    """Return the API key of an id, if there is one, whatever its state."""
    query = select(api_keys).where(api_keys.c.api_key_id == api_key_id)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else dict(row)
