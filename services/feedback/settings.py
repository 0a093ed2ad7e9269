"""The settings of the feedback service."""

from pydantic_settings import SettingsConfigDict

from services.chassis.settings import ServiceSettings


class Settings(ServiceSettings):
    """Read from `VAFA_FEEDBACK_*`."""

    model_config = SettingsConfigDict(env_prefix="VAFA_FEEDBACK_", extra="ignore", frozen=True)

    database_url: str = "sqlite:///.vafa/feedback.db"
    listen: str = "127.0.0.1:7103"
    metrics_listen: str = "127.0.0.1:7203"
