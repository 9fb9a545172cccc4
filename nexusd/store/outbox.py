"""Notifications that are durable before they are sent (`ports.OutboxTable`).

A message's `due_at` is its `next_try_at`, or the end of its lease while somebody sends it: one index finds
what is due, however many wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import accumulate

import sqlalchemy as sa

from nexusd.core.backlog import Backlog
from nexusd.ports import OutboxMessage
from nexusd.store.schema import outbox
from nexusd.store.statements import Insert, Session, Values, begins_with, given, parameters

PENDING, SENT, DEAD = "pending", "sent", "dead"
ABANDONED = "the configuration has no such receiver any more"

FORGET_AT_MOST = 10_000
"""Rows that one call deletes at most, so that no retention holds the store for long."""

_LEASE_WINDOW = 256
"""How many due messages are looked at to find the oldest of them."""

_t = outbox.c
_MESSAGE = sa.select(
    _t.id,
    _t.receiver,
    _t.body,
    _t.created_at,
    _t.expires_at,
    _t.state,
    _t.tries,
    _t.next_try_at,
    _t.leased_until,
    _t.last_error,
    _t.ended_at,
)
_LIMIT = given("n", sa.Integer)
_OFFSET = given("skip", sa.Integer)
_NOW = given("now", sa.Double)
_ID = _t.id == given("which", sa.Text)
_RECEIVER = _t.receiver == given("receiver", sa.Text)
_IN_STATE = _t.state == given("in_state", sa.Text)

_ADD = Insert(outbox)
DUE = (
    sa.select(_t.id, _t.created_at, sa.func.length(_t.body))
    .where(_RECEIVER, _IN_STATE, _t.due_at <= _NOW)
    .order_by(_t.due_at, _t.created_at, _t.id)
    .limit(_LIMIT)
    .with_for_update(skip_locked=True)
)
_FAILED = (
    sa.select(_t.id).where(_RECEIVER, _IN_STATE, _t.tries > 0).order_by(_t.created_at, _t.id).limit(_LIMIT)
)
_TAKE = sa.update(outbox).where(_ID).values(parameters(outbox, ("leased_until", "due_at")))
_FINISHED = ("state", "tries", "next_try_at", "leased_until", "last_error", "ended_at", "due_at")
_FINISH = sa.update(outbox).where(_ID).values(parameters(outbox, _FINISHED))
_DELIVERED = (
    sa.update(outbox)
    .where(_ID)
    .values(
        parameters(outbox, ("state", "ended_at"))
        | {
            "tries": _t.tries + 1,
            "leased_until": sa.null(),
            "last_error": sa.null(),
            "due_at": _t.next_try_at,
        }
    )
)
_RELEASE = (
    sa.update(outbox)
    .where(_IN_STATE, _t.leased_until.is_not(None))
    .values(leased_until=sa.null(), due_at=_t.next_try_at)
)
NEXT_DUE = sa.select(_t.due_at).where(_RECEIVER, _IN_STATE).order_by(_t.due_at, _t.created_at, _t.id).limit(1)
_COUNTS = sa.select(_t.receiver, _t.state, sa.func.count()).group_by(_t.receiver, _t.state)
_OLDEST = sa.select(_t.receiver, sa.func.min(_t.created_at)).where(_IN_STATE).group_by(_t.receiver)
BACKLOG = (
    sa.select(_t.receiver, _t.state, sa.func.count(), sa.func.min(_t.created_at), sa.func.max(_t.ended_at))
    .where(sa.or_(_IN_STATE, _t.state == given("or_state", sa.Text)))
    .group_by(_t.receiver, _t.state)
)
_NEWEST = sa.select(_t.id).order_by(_t.created_at.desc(), _t.id.desc()).limit(_LIMIT).offset(_OFFSET)
_NEWEST_IN_STATE = _NEWEST.where(_IN_STATE)
_HOW_MANY = sa.select(sa.func.count()).select_from(outbox)
_HOW_MANY_IN_STATE = _HOW_MANY.where(_IN_STATE)
_MATCHES = sa.and_(
    begins_with(_t.id, given("match", sa.Text)),
    sa.or_(given("in_state", sa.Text) == "", _IN_STATE),
)
_MATCHING = _NEWEST.where(_MATCHES)
_HOW_MANY_MATCH = _HOW_MANY.where(_MATCHES)
_REPLAY = (
    sa.update(outbox)
    .where(_IN_STATE)
    .values(
        state=PENDING,
        tries=0,
        next_try_at=_NOW,
        due_at=_NOW,
        leased_until=sa.null(),
        ended_at=sa.null(),
        expires_at=_NOW + _t.expires_at - _t.created_at,
    )
)
_REPLAY_ONE = _REPLAY.where(_ID)
_REPLAY_ALL = _REPLAY.where(_RECEIVER)
_ONE = _MESSAGE.where(_ID)
_ABANDON = (
    sa.update(outbox)
    .where(_IN_STATE, _RECEIVER)
    .values(state=DEAD, leased_until=sa.null(), ended_at=_NOW, last_error=given("reason", sa.Text))
)
_WAITED_FOR = sa.select(_t.receiver).where(_IN_STATE).distinct()
_FORGET = sa.delete(outbox).where(
    _t.id.in_(sa.select(_t.id).where(_IN_STATE, _t.ended_at < given("before", sa.Double)).limit(_LIMIT))
)


class Outbox:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, messages: Iterable[OutboxMessage]) -> None:
        self._session.many(_ADD, (_values(message) for message in messages))

    def lease(
        self, receiver: str, now: float, lease_s: float, limit: int, limit_bytes: int
    ) -> list[OutboxMessage]:
        until = now + lease_s
        values = {"receiver": receiver, "in_state": PENDING, "now": now, "n": max(limit, _LEASE_WINDOW)}
        due = sorted(self._session.rows(DUE, values), key=lambda row: (row[1], row[0]))
        sizes = accumulate((size for _, _, size in due), initial=0)
        oldest = [key for (key, *_), before in zip(due[:limit], sizes, strict=False) if before < limit_bytes]
        self._session.many(_TAKE, [{"which": key, "leased_until": until, "due_at": until} for key in oldest])
        return [message for key in oldest if (message := self.get(key)) is not None]

    def finish(self, messages: Iterable[OutboxMessage]) -> None:
        self._session.many(_FINISH, ({**_finished(message), "which": message.id} for message in messages))

    def delivered(self, sent: Iterable[tuple[str, float]]) -> None:
        self._session.many(_DELIVERED, ({"which": key, "state": SENT, "ended_at": at} for key, at in sent))

    def release_leases(self) -> None:
        self._session.execute(_RELEASE, {"in_state": PENDING})

    def failed(self, receiver: str, limit: int) -> Iterator[OutboxMessage]:
        return self._each(_FAILED, {"receiver": receiver, "in_state": PENDING, "n": limit})

    def next_due(self, receiver: str) -> float | None:
        row = self._session.first(NEXT_DUE, {"receiver": receiver, "in_state": PENDING})
        return row[0] if row is not None else None

    def counts(self) -> dict[tuple[str, str], int]:
        return {(receiver, state): count for receiver, state, count in self._session.rows(_COUNTS)}

    def oldest_pending(self) -> dict[str, float]:
        return dict(self._session.rows(_OLDEST, {"in_state": PENDING}))

    def backlog(self) -> list[Backlog]:
        found: dict[str, Backlog] = {}
        for address, state, count, written_at, ended_at in self._session.rows(
            BACKLOG, {"in_state": PENDING, "or_state": DEAD}
        ):
            known = found.get(address, Backlog(address))
            if state == DEAD:
                found[address] = replace(known, dead=count, dead_at=ended_at)
            else:
                found[address] = replace(known, waiting=count, waiting_since=written_at)
        return [found[address] for address in sorted(found)]

    def page(self, state: str | None, limit: int, offset: int) -> tuple[Iterator[OutboxMessage], int]:
        values: dict[str, object] = {"n": limit, "skip": offset}
        if state is None:
            return self._each(_NEWEST, values), self._session.rows(_HOW_MANY)[0][0]
        only = {"in_state": state}
        total: int = self._session.rows(_HOW_MANY_IN_STATE, only)[0][0]
        return self._each(_NEWEST_IN_STATE, {**values, **only}), total

    def find(
        self, match: str, state: str | None, limit: int, offset: int
    ) -> tuple[Iterator[OutboxMessage], int]:
        values = {"match": match, "in_state": state or ""}
        total: int = self._session.rows(_HOW_MANY_MATCH, values)[0][0]
        return self._each(_MATCHING, {**values, "n": limit, "skip": offset}), total

    def get(self, message_id: str) -> OutboxMessage | None:
        row = self._session.first(_ONE, {"which": message_id})
        return OutboxMessage(*row) if row is not None else None

    def replay(self, message_id: str, now: float) -> int:
        """It gets the lifetime it was first given once more, or it would be dead again at once."""
        return self._session.execute(_REPLAY_ONE, {"in_state": DEAD, "now": now, "which": message_id})

    def replay_all(self, receivers: Iterable[str], now: float) -> int:
        values = {"in_state": DEAD, "now": now}
        return sum(self._session.execute(_REPLAY_ALL, {**values, "receiver": name}) for name in receivers)

    def abandon(self, receivers: Iterable[str], now: float) -> int:
        waited_for = {receiver for (receiver,) in self._session.rows(_WAITED_FOR, {"in_state": PENDING})}
        values = {"in_state": PENDING, "now": now, "reason": ABANDONED}
        return sum(
            self._session.execute(_ABANDON, {**values, "receiver": receiver})
            for receiver in waited_for.difference(receivers)
        )

    def forget_ended(self, before: float) -> int:
        """`FORGET_AT_MOST` in each state at most.

        Call it again while it returns more than 0, each time in a transaction of its own.
        """
        values = {"before": before, "n": FORGET_AT_MOST}
        return sum(self._session.execute(_FORGET, {**values, "in_state": state}) for state in (SENT, DEAD))

    def _each(self, statement: sa.Select[tuple[str]], values: Values) -> Iterator[OutboxMessage]:
        """The messages of these ids, one after the other: bodies may be large."""
        for (key,) in self._session.rows(statement, values):
            message = self.get(key)
            if message is not None:
                yield message


def _finished(message: OutboxMessage) -> Values:
    return {
        "state": message.state,
        "tries": message.tries,
        "next_try_at": message.next_try_at,
        "leased_until": None,
        "last_error": message.last_error,
        "ended_at": message.ended_at,
        "due_at": message.next_try_at,
    }


def _values(message: OutboxMessage) -> Values:
    return {
        "id": message.id,
        "receiver": message.receiver,
        "body": message.body,
        "created_at": message.created_at,
        "expires_at": message.expires_at,
        "state": message.state,
        "tries": message.tries,
        "next_try_at": message.next_try_at,
        "leased_until": message.leased_until,
        "last_error": message.last_error,
        "ended_at": message.ended_at,
        "due_at": message.next_try_at if message.leased_until is None else message.leased_until,
    }
