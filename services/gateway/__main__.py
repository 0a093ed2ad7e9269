"""The gateway's own service: `python -m services.gateway`."""

from services.chassis.server import ConfigurationError, Furniture, Parts, serve
from services.chassis.watched_file import UNREADABLE
from services.gateway.access import Access
from services.gateway.customers import Customers
from services.gateway.issuer import TokenIssuer
from services.gateway.schema import chassis
from services.gateway.settings import Settings
from services.gateway.timeline import Timeline
from vafa import aio
from vafa.gateway.v1 import access_pb2, customers_pb2


def main() -> None:
    """Serve."""
    settings = Settings.from_environment()

    def parts(furniture: Furniture) -> Parts:
        addresses = {
            "contacts": settings.contacts_address,
            "loyalty": settings.loyalty_address,
            "feedback": settings.feedback_address,
        }
        suite = aio.connect(addresses)
        return Parts(
            servicers={
                access_pb2.DESCRIPTOR.services_by_name["AccessService"]: Access(
                    furniture.database, furniture.roles, _issuer(settings)
                ),
                customers_pb2.DESCRIPTOR.services_by_name["CustomerService"]: Customers(
                    suite, Timeline(suite, furniture.database.store.page_token_key)
                ),
            },
            suites=[suite],
        )

    serve("gateway", settings, chassis, parts)


def _issuer(settings: Settings) -> TokenIssuer | None:
    name, signing_key_file = settings.token_issuer, settings.signing_key_file
    if signing_key_file is None:
        return None
    if not name:
        raise ConfigurationError("tokens cannot be signed without the name of their issuer")
    try:
        return TokenIssuer(name, settings.token_audience, signing_key_file, settings.jwks_file)
    except UNREADABLE as error:
        text = f"the signing key or the keys beside it cannot be used: {error}"
        raise ConfigurationError(text) from error


if __name__ == "__main__":
    main()
