"""What tests of loyalty begin with, made through the API."""

from google.type import money_pb2

import vafa
from vafa.loyalty.v1 import programs_pb2


def euros(units: int, cents: int = 0, currency_code: str = "EUR") -> money_pb2.Money:
    """Return an amount of money."""
    return money_pb2.Money(currency_code=currency_code, units=units, nanos=cents * 10_000_000)


def a_program(client: vafa.Suite, rate: programs_pb2.EarnRate | None = None) -> str:
    """Create a programme that counts in euros, without a rate unless given; return its name."""
    program = programs_pb2.Program(display_name="Club", currency_code="EUR", earn_rate=rate)
    request = programs_pb2.CreateProgramRequest(program=program)
    return client.programs.CreateProgram(request).name


def an_earning_program(client: vafa.Suite) -> str:
    """Create a programme that gives a point for a euro; return its name."""
    return a_program(client, programs_pb2.EarnRate(points=1, per_amount=euros(1)))
