"""The settings of the loyalty service."""

from pydantic_settings import SettingsConfigDict

from services.chassis.settings import ServiceSettings


class Settings(ServiceSettings):
    """Read from `VAFA_LOYALTY_*`."""

    model_config = SettingsConfigDict(env_prefix="VAFA_LOYALTY_", extra="ignore", frozen=True)

    database_url: str = "sqlite:///.vafa/loyalty.db"
    listen: str = "127.0.0.1:7102"
    metrics_listen: str = "127.0.0.1:7202"
    contacts_address: str = "127.0.0.1:7101"
