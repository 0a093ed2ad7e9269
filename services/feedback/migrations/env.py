"""Alembic's entry to the migrations of this service."""

from services.chassis.migrate import run_migrations
from services.feedback.schema import metadata

run_migrations(metadata)
