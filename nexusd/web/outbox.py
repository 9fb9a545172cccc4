"""`/api/v1/outbox`: notifications that wait, were sent, or are dead; and replaying the dead."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec
import structlog
from aiohttp import web

from nexusd.core.errors import ConflictError, InputError, NotFoundError
from nexusd.ports import Clock, Daemon, OutboxMessage, Store, Transaction
from nexusd.web import schemas
from nexusd.web.answers import answer
from nexusd.web.options import WebOptions
from nexusd.web.queries import match_text, page, text
from nexusd.web.shapes import Shaper, list_shape
from nexusd.web.tallies import within

log = structlog.get_logger(__name__)
T = TypeVar("T")

STATES = ("pending", "sent", "dead")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class _Said(msgspec.Struct):
    """What a body says in short."""

    status: str | None = None
    group_key: str | None = msgspec.field(name="groupKey", default=None)
    alerts: list[msgspec.Raw] = []


class OutboxRoutes:
    def __init__(self, options: WebOptions, daemon: Daemon, store: Store, clock: Clock) -> None:
        self._options = options
        self._daemon = daemon
        self._store = store
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/outbox", self.list),
            web.post("/api/v1/outbox/replay", self.replay_all),
            web.get("/api/v1/outbox/{id:(?!replay$)[^/]+}", self.show),
            web.post("/api/v1/outbox/{id}/replay", self.replay),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Newest first, without the bodies."""
        state = _state(text(request, "state"))
        match = match_text(request)
        limit, offset = page(request)
        shaper = self._shaper()

        def transaction(tx: Transaction) -> tuple[list[schemas.Message], int]:
            if match is not None:
                rows, total = tx.outbox.find(match, state, limit, offset)
            else:
                rows, total = tx.outbox.page(state, limit, offset)
            return [_message(row, shaper) for row in rows], total

        found, total = await self._read(transaction)
        return answer(list_shape(found, total, limit, offset))

    async def show(self, request: web.Request) -> web.Response:
        message_id = _message_id(request)
        row = await self._read(lambda tx: _existing(tx, message_id))
        content: schemas.WholeMessage = {**_message(row, self._shaper()), "body": _body(row)}
        return answer(content)

    async def replay(self, request: web.Request) -> web.Response:
        """Try a dead message again, as if it were new."""
        message_id, now = _message_id(request), self._clock.now()

        def transaction(tx: Transaction) -> OutboxMessage:
            row = _existing(tx, message_id)
            if row.state != "dead":
                raise ConflictError(f"{message_id} is {row.state}; only dead messages are replayed")
            if row.receiver not in self._options.receivers:
                raise ConflictError(f"{message_id} is for {row.receiver}, and there is no such receiver")
            tx.outbox.replay(message_id, now)
            return _existing(tx, message_id)

        row = await self._run(transaction)
        self._replayed(1, {row.receiver})
        return answer(_message(row, self._shaper()))

    async def replay_all(self, _request: web.Request) -> web.Response:
        """The same for every dead message whose receiver there is."""
        now, receivers = self._clock.now(), self._options.receivers
        count = await self._run(lambda tx: tx.outbox.replay_all(receivers, now))
        self._replayed(count, set(receivers))
        content: schemas.Replayed = {"replayed": count}
        return answer(content)

    def _replayed(self, count: int, receivers: set[str]) -> None:
        log.info("notifications_replayed", messages=count)
        self._daemon.replayed(receivers)

    async def _run(self, transaction: Callable[[Transaction], T]) -> T:
        return await within(self._options.store_timeout_s, self._store.run(transaction))

    async def _read(self, transaction: Callable[[Transaction], T]) -> T:
        return await within(self._options.store_timeout_s, self._store.read(transaction))

    def _shaper(self) -> Shaper:
        return Shaper(self._clock.now(), self._clock.utc_offset_s())


def _existing(tx: Transaction, message_id: str) -> OutboxMessage:
    row = tx.outbox.get(message_id)
    if row is None:
        raise NotFoundError(f"there is no message {message_id}")
    return row


def _message(row: OutboxMessage, shaper: Shaper) -> schemas.Message:
    try:
        said = msgspec.json.decode(row.body, type=_Said)
    except msgspec.DecodeError:
        said = _Said()
    return {
        "id": row.id,
        "receiver": row.receiver,
        "state": row.state,
        "status": said.status,
        "group_key": said.group_key,
        "alerts": len(said.alerts),
        "tries": row.tries,
        "created_at": shaper.time(row.created_at),
        "next_try_at": shaper.time(row.next_try_at) if row.state == "pending" else None,
        "expires_at": shaper.time(row.expires_at),
        "ended_at": shaper.time(row.ended_at),
        "last_error": row.last_error,
    }


def _body(row: OutboxMessage) -> object:
    try:
        return msgspec.json.decode(row.body)
    except msgspec.DecodeError:
        return None


def _message_id(request: web.Request) -> str:
    """Raises `NotFoundError` for what can be no id, before a database has to think about it."""
    message_id = request.match_info["id"]
    if not _ID.fullmatch(message_id):
        raise NotFoundError("there is no such message")
    return message_id


def _state(value: str | None) -> str | None:
    if value is not None and value not in STATES:
        raise InputError(f"state: one of {', '.join(STATES)} is expected", "state")
    return value
