"""State written by a wrong clock.

Nothing that is restored waits longer than its own longest wait.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
import sqlalchemy as sa

from nexusd.core.regions import NO_REGIONS
from nexusd.core.retry_after import MOST_S
from nexusd.passes import Observed, begin_term
from nexusd.runtime.clock import SystemClock
from nexusd.store.executors import InlineExecutor
from nexusd.store.instants import bounded_instants
from nexusd.store.opening import StoreOptions, open_store
from nexusd.store.schema import INSTANT, metadata
from nexusd.store.statements import Insert
from nexusd.store.store import SqlStore
from tests.fakes import FakeClock, outbox_page

HOUR = 3600.0
NOTHING = Observed(NO_REGIONS, (), {}, (), None)
UNBOUNDED = {
    "placements.deadline": "the user's",
    "attempts.send_deadline": "used only in the term that wrote it",
    "decisions.decided_at": "history",
    "decisions.observed_at": "history",
    "silences.starts_at": "the user's",
    "silences.ends_at": "the user's",
    "outbox.expires_at": "moves with created_at",
    "leases.expires_at": "by the server's clock",
}


def _is_instant(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.Double) and not column.name.endswith(("_ms", "tokens"))


def test_every_instant_declares_how_far_ahead_it_may_lie() -> None:
    columns = [c for table in metadata.sorted_tables for c in table.columns if _is_instant(c)]
    assert [str(c) for c in columns if INSTANT not in c.info] == []
    assert {str(c) for c in columns if c.info[INSTANT] is None} == set(UNBOUNDED)


def _row(table: sa.Table, at: float) -> dict[str, Any]:
    """A row in which every instant is the same."""
    values: dict[str, Any] = {}
    for column in table.columns:
        if INSTANT in column.info:
            values[column.name] = at
        else:
            values[column.name] = None if column.nullable else _plain(column)
    if table.name == "outbox":
        values["state"] = "pending"
    return values


def _plain(column: sa.Column[Any]) -> Any:
    kinds: dict[type, Any] = {str: "x", bytes: b"x", bool: False, int: 1, float: 1.0}
    return kinds[column.type.python_type]


@pytest.mark.parametrize("ahead_s", [2 * HOUR, 400 * 24 * HOUR])
async def test_times_written_by_a_clock_that_was_ahead_are_moved_back(
    store: SqlStore, clock: FakeClock, ahead_s: float
) -> None:
    now = clock.now()
    written_at = now + ahead_s
    bounded = list(bounded_instants())

    def write(tx: Any) -> None:
        for table in dict.fromkeys(column.table for column, _ in bounded):
            tx.session.many(Insert(table), [_row(table, written_at + 1.0)])
        tx.instants.written(written_at)

    def read(tx: Any) -> dict[str, float]:
        return {str(c): max(row[0] for row in tx.session.rows(sa.select(c))) - now for c, _ in bounded}

    await store.run(write)
    assert await store.run(lambda tx: begin_term(tx, NOTHING, now)) > 0
    ahead = await store.run(read)
    assert {name for name, seconds in ahead.items() if seconds > 1.0} == set()
    late = {str(c): limit for c, limit in bounded if ahead[str(c)] > limit}
    assert late == {}
    assert await store.run(lambda tx: begin_term(tx, NOTHING, now)) == 0


async def test_a_message_that_a_clock_ahead_wrote_keeps_the_time_it_is_tried(
    store: SqlStore, clock: FakeClock
) -> None:
    now, day = clock.now(), 24 * HOUR
    row = _row(metadata.tables["outbox"], now + 2 * HOUR) | {"expires_at": now + 2 * HOUR + day}
    await store.run(lambda tx: tx.session.many(Insert(metadata.tables["outbox"]), [row]))  # type: ignore[attr-defined]  # the store's own transaction
    await store.run(lambda tx: begin_term(tx, NOTHING, now))
    [message] = await store.run(lambda tx: outbox_page(tx, None, 1, 0)[0])
    assert message.created_at == now
    assert message.expires_at == now + day
    assert message.next_try_at == now + MOST_S


async def test_replicas_on_one_postgresql_have_its_time_whatever_their_own_clocks_say(
    postgres_url: str,
) -> None:
    clocks = [SystemClock(lambda ahead_s=ahead_s: time.time() + ahead_s) for ahead_s in (-600.0, 600.0)]  # type: ignore[misc]  # mypy infers no type for a lambda's default
    assert clocks[1].now() - clocks[0].now() > 1000.0
    stores = [
        open_store(StoreOptions(postgres_url, str(n)), clock, InlineExecutor(), clock.follow)
        for n, clock in enumerate(clocks)
    ]
    assert abs(clocks[1].now() - clocks[0].now()) < 100.0
    for store in stores:
        await store.close()
