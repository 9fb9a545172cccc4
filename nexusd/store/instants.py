"""Corrects stored instants that are too far ahead (`ports.InstantsTable`).

A clock that was ahead (a hardware clock in local time, a virtual machine before its first synchronization)
stores cooldowns, retries and group timers that end hours from now. `schema` declares for each instant how far
ahead it may be; the first transaction of every term moves all others back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from nexusd.store.instances import MARK, OBSERVED
from nexusd.store.schema import INSTANT, metadata, outbox
from nexusd.store.statements import Session, Statement, given

WRITTEN = "written"
"""Key in `marks`: time of the last stored pass, by the clock of the replica that led."""

_NOW = given("now", sa.Double)
_LATEST = given("latest", sa.Double)
_SHIFT = given("shift", sa.Double)
_SCOPE: Mapping[sa.Table, sa.ColumnElement[bool]] = {
    outbox: outbox.c.state.in_([sa.literal_column("'pending'"), sa.literal_column("'dead'")])
}
"""Rows that matter, where a table has many more."""

_EXPIRY = (
    sa.update(outbox)
    .where(_SCOPE[outbox], outbox.c.created_at > _NOW)
    .values(expires_at=_NOW + outbox.c.expires_at - outbox.c.created_at)
)


def bounded_instants() -> Iterator[tuple[sa.Column[Any], float]]:
    """Yield each column of an instant, and the seconds that it may be ahead."""
    for table in metadata.sorted_tables:
        for column in table.columns:
            ahead_s = column.info.get(INSTANT)
            if ahead_s is not None:
                yield column, ahead_s


def _update(column: sa.Column[Any], after: Any, value: Any) -> Statement:
    scope = _SCOPE.get(column.table, sa.true())
    statement: Statement = sa.update(column.table).where(scope, column > after).values({column: value})
    return statement


_STATEMENTS = [
    (_update(column, _NOW, column + _SHIFT), _update(column, _LATEST, _LATEST), ahead_s)
    for column, ahead_s in bounded_instants()
]


class Instants:
    def __init__(self, session: Session) -> None:
        self._session = session

    def written(self, at: float) -> None:
        self._session.execute(MARK, {"resource": WRITTEN, "observed_at": at})

    def written_at(self) -> float | None:
        row = self._session.first(OBSERVED, {"resource": WRITTEN})
        return row[0] if row is not None else None

    def bound(self, now: float, shift_s: float) -> int:
        """Move instants ahead of now by `shift_s` (0 or less), and bound the rest.

        Returns the number of rows moved.
        """
        moved = self._session.execute(_EXPIRY, {"now": now})
        for shift, bound, ahead_s in _STATEMENTS:
            if shift_s:
                moved += self._session.execute(shift, {"now": now, "shift": shift_s})
            moved += self._session.execute(bound, {"latest": now + ahead_s})
        return moved
