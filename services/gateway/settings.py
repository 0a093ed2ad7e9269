"""The settings of the gateway."""

from pydantic_settings import SettingsConfigDict

from services.chassis.settings import OptionalPath, ServiceSettings


class Settings(ServiceSettings):
    """Read from `VAFA_GATEWAY_*`."""

    model_config = SettingsConfigDict(env_prefix="VAFA_GATEWAY_", extra="ignore", frozen=True)

    database_url: str = "sqlite:///.vafa/gateway.db"
    listen: str = "127.0.0.1:7100"
    metrics_listen: str = "127.0.0.1:7200"
    contacts_address: str = "127.0.0.1:7101"
    loyalty_address: str = "127.0.0.1:7102"
    feedback_address: str = "127.0.0.1:7103"
    # The key that signs the tokens of the suite's own issuer; without it none are issued.
    signing_key_file: OptionalPath = None
