"""Contacts and points as FastAPI, SQLAlchemy asyncio and asyncpg make them: a peer to compare with.

It knows neither tokens nor roles, checks nothing but types, and keeps no log of its calls.
"""

import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import MetaData, select, update
from sqlalchemy.ext.asyncio import create_async_engine

METHOD = "/awards"
crm = create_async_engine(os.environ["CONTACTS_URL"], pool_size=16, max_overflow=0)
club = create_async_engine(os.environ["LOYALTY_URL"], pool_size=16, max_overflow=0)
people, ledger = MetaData(), MetaData()


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with crm.connect() as connection:
        await connection.run_sync(people.reflect, only=["contacts"])
    async with club.connect() as connection:
        await connection.run_sync(ledger.reflect)
    yield


app = FastAPI(lifespan=lifespan)


class Contact(BaseModel):
    contact_id: str
    uid: str
    version: int
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None
    labels: dict[str, str]
    kind: int
    display_name: str
    given_name: str
    family_name: str
    emails: list[dict[str, str]]
    phones: list[dict[str, str]]
    social_handles: list[dict[str, str]]
    occupation: str
    birth_date: date | None
    locale: str
    acquisition_source: str
    lifecycle_stage: int
    owner: str
    custom_fields: dict[str, Any] | None
    external_ids: list[dict[str, str]]


class Award(BaseModel):
    member_id: str
    points: int
    reason: str
    request_id: uuid.UUID


class Awarded(BaseModel):
    ledger_transaction_id: str
    points: int
    points_balance: int


@app.get("/contacts/{contact_id}")
async def get_contact(contact_id: str) -> Contact:
    table = people.tables["contacts"]
    query = select(table).where(table.c.contact_id == contact_id)
    async with crm.connect() as connection:
        row = (await connection.execute(query)).mappings().one_or_none()
    if row is None or row["delete_time"]:
        raise HTTPException(404)
    return Contact.model_validate(dict(row))


@app.post("/awards")
async def award_points(award: Award) -> Awarded:
    tables, now, request_id = ledger.tables, datetime.now(UTC), str(award.request_id)
    members, stored = tables["members"], tables["idempotency"]
    is_member = (members.c.program_id == "club") & (members.c.member_id == award.member_id)
    asked = (stored.c.method == METHOD) & (stored.c.request_id == request_id)
    name = f"programs/club/members/{award.member_id}"
    async with club.begin() as connection:
        found = await connection.execute(select(members).where(is_member).with_for_update())
        if (member := found.one_or_none()) is None:
            raise HTTPException(404)
        found = await connection.execute(select(stored.c.response).where(asked))
        if (response := found.scalar_one_or_none()) is not None:
            return Awarded.model_validate_json(response)
        key = {"program_id": "club", "member_id": award.member_id}
        uid, lot_id = str(uuid.uuid4()), uuid.uuid4().hex
        posting = {**key, "ledger_transaction_id": uuid.uuid4().hex}
        balance = member.points_balance + award.points
        answer = Awarded(
            ledger_transaction_id=posting["ledger_transaction_id"],
            points=award.points,
            points_balance=balance,
        )
        rows: dict[str, list[dict[str, Any]]] = {
            "ledger_transactions": [
                {
                    **posting,
                    "uid": uid,
                    "create_time": now,
                    "kind": 1,
                    "points": award.points,
                    "reason": award.reason,
                    "principal": "peer",
                    "points_balance": balance,
                }
            ],
            "ledger_entries": [
                {**posting, "ordinal": n, "account": account, "lot_id": lot, "points": points}
                for n, (account, lot, points) in enumerate(
                    ((1, lot_id, award.points), (2, None, -award.points))
                )
            ],
            "lots": [
                {
                    **posting,
                    "lot_id": lot_id,
                    "uid": str(uuid.uuid4()),
                    "create_time": now,
                    "points_issued": award.points,
                    "points_remaining": award.points,
                }
            ],
            "audit": [
                {
                    "create_time": now,
                    "principal": "peer",
                    "method": METHOD,
                    "request_id": request_id,
                    "action": "points.awarded",
                    "resource": name,
                    "changed_paths": [],
                }
            ],
            "outbox": [
                {
                    "aggregatetype": "points",
                    "aggregateid": name,
                    "type": "points.awarded",
                    "payload": answer.model_dump_json().encode(),
                    "create_time": now,
                }
            ],
            "idempotency": [
                {
                    "principal": "peer",
                    "method": METHOD,
                    "request_id": request_id,
                    "request_hash": hashlib.sha256(award.model_dump_json().encode()).digest(),
                    "response": answer.model_dump_json().encode(),
                    "create_time": now,
                }
            ],
        }
        for table, values in rows.items():
            await connection.execute(tables[table].insert().values(values))
        issued = members.c.points_issued + award.points
        change = update(members).where(is_member)
        await connection.execute(change.values(points_balance=balance, points_issued=issued))
    return answer
