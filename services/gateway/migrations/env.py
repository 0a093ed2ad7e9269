"""Alembic's entry to the migrations of this service."""

from services.chassis.migrate import run_migrations
from services.gateway.schema import metadata

run_migrations(metadata)
