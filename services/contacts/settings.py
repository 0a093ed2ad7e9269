"""The settings of the contacts service."""

from pydantic_settings import SettingsConfigDict

from services.chassis.settings import ServiceSettings


class Settings(ServiceSettings):
    """Read from `VAFA_CONTACTS_*`."""

    model_config = SettingsConfigDict(env_prefix="VAFA_CONTACTS_", extra="ignore", frozen=True)

    database_url: str = "sqlite:///.vafa/contacts.db"
    listen: str = "127.0.0.1:7101"
    metrics_listen: str = "127.0.0.1:7201"
