"""What `/regions` answered over time (`ports.RegionHistoryTable`)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import msgspec
import sqlalchemy as sa

from nexusd.core.recordings import RecordedAnswer, recordable
from nexusd.core.records import Region
from nexusd.store.schema import SERIAL, region_history
from nexusd.store.statements import Insert, Session, given

FORGET_AT_MOST = 1_000
"""Rows that one call deletes at most; each is about a kilobyte for a hundred regions."""

_t = region_history.c
_NEWEST = sa.select(_t.id, _t.until, _t.answer).order_by(_t.id.desc()).limit(1)
_ADD = Insert(region_history)
_EXTEND = (
    sa.update(region_history)
    .where(_t.id == given("which", SERIAL))
    .values(until=given("until_now", sa.Double))
)
BETWEEN = (
    sa.select(_t.at, _t.until, _t.answer)
    .where(_t.until >= given("since", sa.Double), _t.at <= given("before", sa.Double))
    .order_by(_t.id)
)
_FORGET = sa.delete(region_history).where(
    _t.id.in_(
        sa.select(_t.id)
        .where(_t.until < given("before", sa.Double))
        .order_by(_t.until, _t.id)
        .limit(given("n", sa.Integer))
    )
)

_Row = tuple[str, str, float | None, bool]
_ROWS = msgspec.json.Decoder(tuple[_Row, ...])


class RegionHistory:
    def __init__(self, session: Session) -> None:
        self._session = session

    def record(self, regions: Iterable[Region], at: float, gap_s: float) -> None:
        answer = _encoded(regions)
        newest = self._session.first(_NEWEST)
        if newest is not None and bytes(newest[2]) == answer and 0.0 <= at - newest[1] <= gap_s:
            self._session.execute(_EXTEND, {"which": newest[0], "until_now": at})
            return
        self._session.execute(_ADD, {"at": at, "until": at, "answer": answer})

    def between(self, since: float, until: float) -> Iterator[RecordedAnswer]:
        rows = self._session.rows(BETWEEN, {"since": since, "before": until})
        return (RecordedAnswer(began, ended, _decoded(bytes(answer))) for began, ended, answer in rows)

    def forget(self, before: float) -> int:
        """Delete the oldest of those last given before the instant, `FORGET_AT_MOST` at most; how many."""
        return self._session.execute(_FORGET, {"before": before, "n": FORGET_AT_MOST})


def _encoded(regions: Iterable[Region]) -> bytes:
    """The same bytes for the same answer."""
    rows: list[_Row] = [(r.slug, r.status, r.latency_ms, r.capacity) for r in recordable(regions)]
    return zlib.compress(msgspec.json.encode(rows))


def _decoded(answer: bytes) -> tuple[Region, ...]:
    rows = _ROWS.decode(zlib.decompress(answer))
    return tuple(
        Region(slug, "", status, latency_ms, capacity) for slug, status, latency_ms, capacity in rows
    )
