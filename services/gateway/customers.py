"""Serves customers: one picture out of what the services know."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from services.chassis.call import Call
from services.chassis.errors import ResourceNotFound
from vafa.aio import Suite
from vafa.contacts.v1 import contacts_pb2, interactions_pb2
from vafa.errors import NotFound, VafaError
from vafa.gateway.v1 import customers_pb2
from vafa.loyalty.v1 import members_pb2, orders_pb2

RECENT = 5
# Kept back from the deadline of the call, to put the picture together and send it.
MARGIN_SECONDS = 0.1
Customer = customers_pb2.Customer


class Customers:
    """Serves vafa.gateway.v1.CustomerService."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite

    async def GetCustomer(
        self, request: customers_pb2.GetCustomerRequest, call: Call
    ) -> customers_pb2.Customer:
        """Ask the services at once, and say which part did not come in time."""
        contact = f"contacts/{request.name.removeprefix('customers/')}"
        customer = Customer(name=request.name)
        answers = await self._ask(contact, call)
        for part, got in answers.items():
            if any(isinstance(answer, NotFound) for answer in got):
                # Only contacts answers so; loyalty is asked for what it may have none of.
                raise ResourceNotFound(request.name)
            failed = next((one for one in got if isinstance(one, VafaError)), None)
            if failed is not None:
                customer.unavailable_parts.add(part=part, code=failed.code.name)
            else:
                _fill(customer, part, got)
        return customer

    async def _ask(self, contact: str, call: Call) -> Mapping[Any, list[Any]]:
        """Return the answers, or the errors instead of them, by the part they belong to."""
        suite = self._suite
        # The caller's own token: who may not ask there may not see it here.
        how: dict[str, Any] = {
            "metadata": (("authorization", f"Bearer {call.token}"),),
            "timeout": max(0.001, call.remaining_seconds() - MARGIN_SECONDS),
        }
        in_all = f'contact = "{contact}"'
        questions: dict[Any, list[Awaitable[Any]]] = {
            Customer.PART_PROFILE: [
                suite.contacts.GetContact(contacts_pb2.GetContactRequest(name=contact), **how)
            ],
            Customer.PART_INTERACTIONS: [
                suite.interactions.ListInteractions(
                    interactions_pb2.ListInteractionsRequest(
                        parent=contact, page_size=RECENT, order_by="occur_time desc"
                    ),
                    **how,
                )
            ],
            Customer.PART_PURCHASES: [
                suite.orders.SummarizePurchases(
                    orders_pb2.SummarizePurchasesRequest(contact=contact), **how
                ),
                suite.orders.ListOrders(
                    orders_pb2.ListOrdersRequest(
                        parent="programs/-",
                        filter=in_all,
                        page_size=RECENT,
                        order_by="order_time desc",
                    ),
                    **how,
                ),
            ],
            Customer.PART_POINTS: [
                suite.members.ListMembers(
                    members_pb2.ListMembersRequest(parent="programs/-", filter=in_all), **how
                )
            ],
        }
        parts = [part for part, asked in questions.items() for _ in asked]
        asked = [question for several in questions.values() for question in several]
        got = await asyncio.gather(*(_answer(question) for question in asked))
        answers: dict[Any, list[Any]] = {part: [] for part in questions}
        for part, answer in zip(parts, got, strict=True):
            answers[part].append(answer)
        return answers


async def _answer(question: Awaitable[Any]) -> Any:
    try:
        return await question
    except VafaError as error:
        return error


def _fill(customer: customers_pb2.Customer, part: Any, got: list[Any]) -> None:
    if part == Customer.PART_PROFILE:
        customer.contact.CopyFrom(got[0])
    elif part == Customer.PART_INTERACTIONS:
        customer.recent_interactions.extend(got[0].interactions)
    elif part == Customer.PART_PURCHASES:
        customer.purchases.CopyFrom(got[0])
        customer.recent_orders.extend(got[1].orders)
    else:
        customer.memberships.extend(got[0].members)
