"""Serves programmes and their figures."""

from sqlalchemy import Connection

from services.chassis.call import Call
from services.chassis.standard import Standard, Std
from services.chassis.steps import get
from services.loyalty import queries
from services.loyalty.amounts import money_of
from services.loyalty.resources import PROGRAM
from vafa.loyalty.v1 import programs_pb2

# What a field of the summary holds.
MOST_POINTS = 2**63 - 1


class Programs(Standard):
    """Serves vafa.loyalty.v1.ProgramService."""

    resource = PROGRAM
    methods = frozenset({Std.GET, Std.LIST, Std.CREATE, Std.UPDATE})

    async def GetProgramSummary(
        self, request: programs_pb2.GetProgramSummaryRequest, _call: Call
    ) -> programs_pb2.ProgramSummary:
        """Sum up a programme over one state of the database."""
        name = request.name.removesuffix("/summary")
        return await self.database.snapshot(lambda c: _sum_up(c, name))


def _sum_up(connection: Connection, name: str) -> programs_pb2.ProgramSummary:
    program = get(connection, PROGRAM, name)
    program_id = program["program_id"]
    sales = queries.sales_of_program(connection, program_id)
    points = queries.points_of_program(connection, program_id)
    return programs_pb2.ProgramSummary(
        name=f"{name}/summary",
        members_count=queries.count_members(connection, program_id),
        customers_count=sales.customers_count,
        repeat_customers_count=sales.repeat_customers_count,
        orders_count=sales.orders_count,
        revenue=money_of(sales.revenue_minor, program["currency_code"]),
        points_issued=min(points.issued, MOST_POINTS),
        points_redeemed=min(points.redeemed, MOST_POINTS),
        points_outstanding=min(points.issued - points.redeemed, MOST_POINTS),
    )
