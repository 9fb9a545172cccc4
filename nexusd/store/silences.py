"""Silences (`ports.SilencesTable`)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa

from nexusd.core.matchers import stored_matcher
from nexusd.core.silences import Silence
from nexusd.store.schema import silences
from nexusd.store.statements import Session, Upsert, Values, given

FORGET_AT_MOST = 10_000
"""Rows that one call deletes at most, so that no retention holds the store for long."""
MAX_CACHED = 2_048
"""More than the silences that can be open (`silencing.MOST_OPEN`), with room for those that changed."""

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
        """Return silences that have not expired.

        An unchanged row gives the same object each time, because every pass reads all of them and its
        patterns must not be compiled again.
        """
        return [_open_silence(*row) for row in self._session.rows(_OPEN, {"at": now})]

    def newest(self, limit: int) -> list[Silence]:
        return [_silence(*row) for row in self._session.rows(_NEWEST, {"n": limit})]

    def get(self, silence_id: str) -> Silence | None:
        row = self._session.first(_GET, {"which": silence_id})
        return _silence(*row) if row is not None else None

    def save(self, changed: Iterable[Silence]) -> None:
        self._session.many(_SAVE, (_values(silence) for silence in changed))

    def forget(self, before: float) -> int:
        return self._session.execute(_FORGET, {"before": before, "n": FORGET_AT_MOST})


def _silence(silence_id: str, matchers: str, *rest: Any) -> Silence:
    return Silence(silence_id, tuple(stored_matcher(*parts) for parts in _MATCHERS.decode(matchers)), *rest)


_open_silence = lru_cache(MAX_CACHED)(_silence)


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
