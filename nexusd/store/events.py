"""The history (`ports.EventsTable`)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa

from nexusd.core.events import Event, Subject
from nexusd.core.settling import NOBODY, Doubt, Settled, newest, number, unbroken
from nexusd.store.schema import SERIAL, events
from nexusd.store.statements import Insert, Row, Session, Values, given

_json = msgspec.json.Encoder().encode

FORGET_AT_MOST = 10_000
"""Rows that one call deletes at most, so that no retention holds the store for long."""

_APPEND = Insert(events)
_AFTER_ID = (
    sa.select(events)
    .where(events.c.id > given("after", SERIAL))
    .order_by(events.c.id)
    .limit(given("n", sa.Integer))
)
_SINCE = (
    sa.select(events)
    .where(events.c.at >= given("at", sa.Double), events.c.id > given("after", SERIAL))
    .order_by(events.c.at, events.c.id)
    .limit(given("n", sa.Integer))
)
_NEWEST = sa.select(events).order_by(events.c.id.desc()).limit(given("n", sa.Integer))
_FORGET = sa.delete(events).where(
    events.c.id.in_(
        sa.select(events.c.id)
        .where(events.c.at < given("before", sa.Double))
        .order_by(events.c.at, events.c.id)
        .limit(given("n", sa.Integer))
    )
)


class Events:
    def __init__(self, session: Session) -> None:
        self._session = session

    def append(self, events: Iterable[Event]) -> list[Event]:
        appended = list(events)
        ids = self._session.insert(_APPEND, [_values(event) for event in appended])
        return [
            Event(event.at, event.type, event.subject, event.detail, number)
            for event, number in zip(appended, ids, strict=True)
        ]

    def since(self, event_id: int | None, at: float | None, limit: int) -> list[Event]:
        if at is not None:
            values = {"at": at, "after": -1 if event_id is None else event_id, "n": limit}
            return [_event(row) for row in self._session.rows(_SINCE, values)]
        if event_id is not None:
            return [_event(row) for row in self._session.rows(_AFTER_ID, {"after": event_id, "n": limit})]
        return [_event(row) for row in reversed(self._session.rows(_NEWEST, {"n": limit}))]

    def settled(self, after: int, doubt: Doubt | None, limit: int, now: float) -> Settled:
        left = doubt.left(self.writers(), now) if doubt is not None else NOBODY
        found = self.since(after, None, limit)  # after the writers: what they have committed is among them
        reached = newest(found, after)
        known = min(doubt.upto, reached) if doubt is not None and not left else after
        upto = unbroken(known, (e for e in found if number(e) > known))
        held = doubt if doubt is not None and left and doubt.upto > upto else None
        if held is None and upto < reached:
            writing = self.writers()
            if not writing:
                return self._all_settled(after, reached, limit)
            held = Doubt(reached, writing, now)
        return Settled([e for e in found if number(e) <= upto], upto, held, len(found) == limit and not held)

    def _all_settled(self, after: int, reached: int, limit: int) -> Settled:
        """Read again what was reached: nobody writes, so nothing is missing from it now."""
        found = self.since(after, None, limit)
        full = len(found) == limit
        upto = min(reached, newest(found, after)) if full else reached
        return Settled([e for e in found if number(e) <= upto], upto, more=full)

    def writers(self) -> frozenset[str]:
        return self._session.writers(events)

    def forget(self, before: float) -> int:
        """Delete the oldest of those before the instant, `FORGET_AT_MOST` at most; how many.

        Call it again while it returns more than 0, each time in a transaction of its own.
        """
        return self._session.execute(_FORGET, {"before": before, "n": FORGET_AT_MOST})


def _values(event: Event) -> Values:
    subject = event.subject
    return {
        "at": event.at,
        "type": event.type,
        "kind": subject.kind,
        "subject_id": subject.id,
        "name": subject.name,
        "region": subject.region,
        "detail": _json(event.detail).decode(),
    }


def _event(row: Row) -> Event:
    key, at, kind_of_event, kind, subject_id, name, region, detail = row
    return Event(at, kind_of_event, Subject(kind, subject_id, name, region), msgspec.json.decode(detail), key)
