"""Silences (`ports.SilencesTable`)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa

from nexusd.core.matchers import matcher
from nexusd.core.silences import Silence
from nexusd.store.schema import silences
from nexusd.store.statements import Row, Session, Upsert, Values, given

FORGET_AT_MOST = 10_000
"""Rows that one call deletes at most, so that no retention holds the store for long."""

_RECORD = tuple(column.name for column in silences.columns)

_LAST_ENDING = sa.select(silences).order_by(silences.c.ends_at.desc(), silences.c.id)
_NEWEST = _LAST_ENDING.limit(given("n", sa.Integer))
_OPEN = _LAST_ENDING.where(silences.c.ends_at > given("at", sa.Double))
_GET = sa.select(silences).where(silences.c.id == given("which", sa.Text))
_SAVE = Upsert(silences, _RECORD, _RECORD[1:])
_FORGET = sa.delete(silences).where(
    silences.c.id.in_(
        sa.select(silences.c.id)
        .where(silences.c.ends_at < given("before", sa.Double))
        .order_by(silences.c.ends_at, silences.c.id)
        .limit(given("n", sa.Integer))
    )
)

_MATCHERS = msgspec.json.Decoder(tuple[tuple[str, str, str], ...])


class Silences:
    def __init__(self, session: Session) -> None:
        self._session = session

    def open(self, now: float) -> list[Silence]:
        return [_silence(row) for row in self._session.rows(_OPEN, {"at": now})]

    def newest(self, limit: int) -> list[Silence]:
        return [_silence(row) for row in self._session.rows(_NEWEST, {"n": limit})]

    def get(self, silence_id: str) -> Silence | None:
        row = self._session.first(_GET, {"which": silence_id})
        return _silence(row) if row is not None else None

    def save(self, changed: Iterable[Silence]) -> None:
        self._session.many(_SAVE, (_values(silence) for silence in changed))

    def forget(self, before: float) -> int:
        return self._session.execute(_FORGET, {"before": before, "n": FORGET_AT_MOST})


def _silence(row: Row) -> Silence:
    silence_id, matchers, *rest = row
    return Silence(silence_id, tuple(matcher(*parts) for parts in _MATCHERS.decode(matchers)), *rest)


def _values(silence: Silence) -> Values:
    matchers = [(m.name, m.operator, m.value) for m in silence.matchers]
    return {
        "id": silence.id,
        "matchers": msgspec.json.encode(matchers).decode(),
        "starts_at": silence.starts_at,
        "ends_at": silence.ends_at,
        "updated_at": silence.updated_at,
        "created_by": silence.created_by,
        "comment": silence.comment,
    }
