"""The gateway's own service: `python -m services.gateway`."""

from services.chassis.server import Furniture, Parts, serve
from services.gateway.customers import Customers
from services.gateway.schema import chassis
from services.gateway.settings import Settings
from vafa import aio
from vafa.gateway.v1 import customers_pb2


def main() -> None:
    """Serve."""
    settings = Settings.from_environment()

    def parts(_furniture: Furniture) -> Parts:
        addresses = {"contacts": settings.contacts_address, "loyalty": settings.loyalty_address}
        suite = aio.connect(addresses)
        return Parts(
            servicers={
                customers_pb2.DESCRIPTOR.services_by_name["CustomerService"]: Customers(suite)
            },
            suites=[suite],
        )

    serve("gateway", settings, chassis, parts)


if __name__ == "__main__":
    main()
