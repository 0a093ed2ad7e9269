"""Serves customers: one picture out of what the services know."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from services.chassis.call import Call
from services.chassis.errors import ResourceNotFound
from services.gateway import forwarding
from services.gateway.timeline import Timeline
from vafa.aio import Suite
from vafa.contacts.v1 import contacts_pb2, interactions_pb2
from vafa.errors import NotFound, VafaError
from vafa.feedback.v1 import responses_pb2
from vafa.gateway.v1 import customers_pb2
from vafa.loyalty.v1 import members_pb2, orders_pb2

RECENT = 5
Customer = customers_pb2.Customer


class Customers:
    """Serves vafa.gateway.v1.CustomerService."""

    def __init__(self, suite: Suite, timeline: Timeline) -> None:
        self._suite = suite
        self._timeline = timeline

    async def GetCustomer(
        self, request: customers_pb2.GetCustomerRequest, call: Call
    ) -> customers_pb2.Customer:
        """Ask the services at once, and say which part did not come in time."""
        contact = f"contacts/{request.name.removeprefix('customers/')}"
        customer = Customer(name=request.name)
        answers = await self._ask(contact, call)
        for part, got in answers.items():
            if any(isinstance(answer, NotFound) for answer in got):
                # Only contacts answers so; the others are asked for what they may have none of.
                raise ResourceNotFound(request.name)
            failed = next((one for one in got if isinstance(one, VafaError)), None)
            if failed is not None:
                customer.unavailable_parts.add(part=part, code=failed.code.name)
            else:
                _fill(customer, part, got)
        return customer

    async def ListTimeline(
        self, request: customers_pb2.ListTimelineRequest, call: Call
    ) -> customers_pb2.ListTimelineResponse:
        """List what happened with a customer, the latest first."""
        return await self._timeline.page(request, call)

    async def _ask(self, contact: str, call: Call) -> Mapping[Any, list[Any]]:
        """Return the answers, or the errors instead of them, by the part they belong to."""
        suite, how = self._suite, forwarding.for_caller(call)
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
            Customer.PART_SCORES: [
                suite.responses.SummarizeScores(
                    responses_pb2.SummarizeScoresRequest(contact=contact), **how
                )
            ],
        }
        parts = [part for part, asked in questions.items() for _ in asked]
        asked = [question for several in questions.values() for question in several]
        got = await asyncio.gather(*map(forwarding.answer_or_error, asked))
        answers: dict[Any, list[Any]] = {part: [] for part in questions}
        for part, answer in zip(parts, got, strict=True):
            answers[part].append(answer)
        return answers


def _fill(customer: customers_pb2.Customer, part: Any, got: list[Any]) -> None:
    if part == Customer.PART_PROFILE:
        customer.contact.CopyFrom(got[0])
    elif part == Customer.PART_INTERACTIONS:
        customer.recent_interactions.extend(got[0].interactions)
    elif part == Customer.PART_PURCHASES:
        customer.purchases.CopyFrom(got[0])
        customer.recent_orders.extend(got[1].orders)
    elif part == Customer.PART_POINTS:
        customer.memberships.extend(got[0].members)
    else:
        customer.scores.CopyFrom(got[0])
