"""The loyalty service: `python -m services.loyalty`."""

from services.chassis.server import Furniture, Parts, Subscription, serve
from services.loyalty.consumer import HANDLERS, rebuild
from services.loyalty.ledger import Ledger
from services.loyalty.members import Members
from services.loyalty.orders import Orders
from services.loyalty.programs import Programs
from services.loyalty.schema import chassis
from services.loyalty.settings import Settings
from services.loyalty.verification import KIND, verification
from vafa import aio
from vafa.loyalty.v1 import ledger_pb2, members_pb2, orders_pb2, programs_pb2


def main() -> None:
    """Serve."""
    settings = Settings.from_environment()

    def parts(furniture: Furniture) -> Parts:
        database = furniture.database
        suite = aio.connect({"contacts": settings.contacts_address}, token_file=settings.token_file)
        return Parts(
            servicers={
                programs_pb2.DESCRIPTOR.services_by_name["ProgramService"]: Programs(database),
                members_pb2.DESCRIPTOR.services_by_name["MemberService"]: Members(database),
                orders_pb2.DESCRIPTOR.services_by_name["OrderService"]: Orders(database),
                ledger_pb2.DESCRIPTOR.services_by_name["LedgerService"]: Ledger(
                    database, furniture.operations
                ),
            },
            subscriptions={"contacts": Subscription(suite, HANDLERS, rebuild)},
            suites=[suite],
        )

    kinds = {KIND: verification}
    serve("loyalty", settings, chassis, parts, kinds)


if __name__ == "__main__":
    main()
