"""The refusals of the loyalty service."""

from typing import ClassVar

import grpc
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from services.chassis.errors import Refusal
from vafa.loyalty.v1 import error_reason_pb2

INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


class LoyaltyRefusal(Refusal):
    """A refusal with a reason of this service."""

    reasons: ClassVar[EnumTypeWrapper] = error_reason_pb2.ErrorReason  # type: ignore[assignment]


class PointsRefusal(LoyaltyRefusal):
    """The balance of a member does not allow the movement that a field asks for."""

    problem: ClassVar[str]

    def __init__(self, field: str, member: str, points_balance: int, asked: int) -> None:
        super().__init__(
            f"{member} has {points_balance} points, asked for {asked}",
            violations=[(field, self.problem)],
            member=member,
            points_balance=points_balance,
            asked=asked,
        )


class InsufficientPoints(PointsRefusal):
    """The balance is lower than what is to be spent."""

    code, reason = PRECONDITION, "INSUFFICIENT_POINTS"
    problem = "more than the member has"


class BalanceLimitReached(PointsRefusal):
    """The balance would pass its limit."""

    code, reason = PRECONDITION, "BALANCE_LIMIT_REACHED"
    problem = "would bring the balance above its limit"


class OrderAlreadyRecorded(LoyaltyRefusal):
    """The external id stands for an order with another content."""

    code, reason = grpc.StatusCode.ALREADY_EXISTS, "ORDER_ALREADY_RECORDED"

    def __init__(self, order: str) -> None:
        super().__init__(
            f"{order} has this external id and another content",
            violations=[("external_id", "stands for an order with another content")],
            resource=order,
        )


class CurrencyMismatch(LoyaltyRefusal):
    """An amount is not in the currency of the programme."""

    code, reason = INVALID, "CURRENCY_MISMATCH"

    def __init__(self, field: str, expected: str, found: str) -> None:
        text = f"must be in {expected}, the currency of the programme"
        violations = [(field, text)]
        super().__init__(f"{field} {text}", violations=violations, expected=expected, found=found)


class AmountInvalid(LoyaltyRefusal):
    """An amount that is not accepted."""

    code, reason = INVALID, "AMOUNT_INVALID"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}", violations=[(field, problem)])


class PaymentsExceedTotal(LoyaltyRefusal):
    """More was paid than was bought for."""

    code, reason = INVALID, "PAYMENTS_EXCEED_TOTAL"

    def __init__(self) -> None:
        text = "together pass the total of the lines"
        super().__init__(f"the payments {text}", violations=[("payments", text)])


class TimeInFuture(LoyaltyRefusal):
    """The time has not come yet."""

    code, reason = INVALID, "TIME_IN_FUTURE"


class CurrencyUnknown(LoyaltyRefusal):
    """Not a currency in use."""

    code, reason = INVALID, "CURRENCY_UNKNOWN"


class ValueRepeated(LoyaltyRefusal):
    """The same value stands twice in one batch."""

    code, reason = INVALID, "VALUE_REPEATED"
