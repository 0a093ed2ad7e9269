"""Serves members."""

from services.chassis.call import Call
from services.chassis.standard import Standard, Std
from services.chassis.steps import get
from services.chassis.transaction import Transaction
from services.loyalty.enrolment import enrol
from services.loyalty.resources import MEMBER, PROGRAM
from vafa.loyalty.v1 import members_pb2


class Members(Standard):
    """Serves vafa.loyalty.v1.MemberService."""

    resource = MEMBER
    methods = frozenset({Std.GET, Std.LIST, Std.UPDATE})

    async def CreateMember(
        self, request: members_pb2.CreateMemberRequest, call: Call
    ) -> members_pb2.Member:
        """Enrol a contact."""

        def work(transaction: Transaction) -> members_pb2.Member:
            program = get(transaction.connection, PROGRAM, request.parent)
            return enrol(transaction, program["program_id"], request.member)

        return await self.database.write(call, work)
