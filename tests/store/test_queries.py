"""What the queries cost: 100,000 rows that do not concern them make them no dearer."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexusd.store import outbox, placements, queue
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from nexusd.store.statements import Statement
from tests.fakes import FakeClock
from tests.store.test_outbox import message
from tests.store.test_placements import placement

PLANS = {
    "heads": (queue.HEADS, {"in_state": "queued", "of_class": "a", "n": 10}, "ix_placements_queue"),
    "expired": (queue.EXPIRED, {"in_state": "queued", "now": 1.0, "n": 10}, "ix_placements_deadline"),
    "open name": (placements.OPEN_NAME, {"name": "web"}, "uq_placements_open_name"),
    "oldest": (placements.OLDEST, {"in_state": "held", "n": 10}, "ix_placements_newest_in_state"),
    "ended": (placements.ENDED, {"in_state": "failed", "since": 2.0, "n": 10}, "ix_placements_ended"),
    "how many ended": (
        placements.HOW_MANY_ENDED,
        {"in_state": "failed", "since": 1400.0},
        "ix_placements_ended",
    ),
    "members": (placements.MEMBERS, {"of_fleet": "web"}, "ix_placements_members"),
    "made": (placements.MADE, {"of_fleet": "web"}, "ix_placements_tried"),
    "tried": (placements.TRIED, {"of_fleet": "web", "n": 10}, "ix_placements_tried"),
    "due": (outbox.DUE, {"receiver": "ops", "in_state": "pending", "now": 1.0, "n": 10}, "ix_outbox_due"),
    "next due": (outbox.NEXT_DUE, {"receiver": "ops", "in_state": "pending"}, "ix_outbox_due"),
}


@pytest.mark.parametrize("query", PLANS)
async def test_an_index_answers_it_in_order_on_sqlite(query: str, tmp_path: Path) -> None:
    statement, values, index = PLANS[query]
    store = open_store(StoreOptions(f"sqlite:///{tmp_path}/x.db", "me"), FakeClock(), InlineExecutor())

    def explain(tx) -> str:
        sql, merged = tx.session._prepare(statement, values)
        tx.session._cursor.execute(f"EXPLAIN QUERY PLAN {sql}", merged)
        return " / ".join(row[3] for row in tx.session._cursor.fetchall())

    plan = await store.run(explain)
    await store.close()
    assert f"USING INDEX {index}" in plan or f"USING COVERING INDEX {index}" in plan
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.slow
@pytest.mark.parametrize("query", PLANS)
async def test_an_index_answers_it_in_order_on_postgresql(query: str, postgres_url: str) -> None:
    statement, values, index = PLANS[query]
    store = open_store(StoreOptions(postgres_url, "me"), FakeClock(), InlineExecutor())

    def explain(tx) -> str:
        def fill() -> None:
            for n in range(1500):
                tx.placements.insert(placement(f"p{n}", created_at=float(n), state=_STATES[n % 3]))
            tx.outbox.add(message(f"m{n}", float(n), "ops" if n % 2 else "web") for n in range(1500))
            tx.session.script("ANALYZE placements")
            tx.session.script("ANALYZE outbox")

        fill()
        sql, merged = tx.session._prepare(statement, values)
        tx.session._cursor.execute(f"EXPLAIN {sql}", merged)
        return "\n".join(row[0] for row in tx.session._cursor.fetchall())

    plan = await store.run(explain)
    await store.close()
    assert index in plan
    assert "Sort" not in plan


_STATES = (
    placements.State.QUEUED,
    placements.State.FAILED,
    placements.State.CREATING,
)


@pytest.mark.slow
async def test_the_queue_costs_the_same_with_twenty_thousand_waiting_as_with_a_hundred(
    tmp_path: Path,
) -> None:
    steps = [await _steps_for_a_queue_of(count, tmp_path / f"{count}.db") for count in (100, 20_000)]
    assert steps[1] <= steps[0] * 1.5


async def _steps_for_a_queue_of(count: int, path: Path) -> int:
    """How many thousand steps of SQLite's machine ten placements of the queue take."""
    store = open_store(StoreOptions(f"sqlite:///{path}", "me"), FakeClock(), InlineExecutor())

    def fill(tx) -> None:
        for n in range(count):
            tx.placements.insert(placement(f"p{n:06}", created_at=float(n), priority=n % 7))

    def measure(tx) -> int:
        steps = [0]

        def step() -> int:
            steps[0] += 1
            return 0

        connection = tx.session._connection
        connection.set_progress_handler(step, 1)
        try:
            classes = tx.queue.classes("", 128)
            assert sum(len(tx.queue.heads(c, 10)) for c in classes) == 10
        finally:
            connection.set_progress_handler(None, 0)
        return steps[0]

    await store.run(fill)
    steps = await store.run(measure)
    await store.close()
    return steps


def test_every_statement_is_compiled_only_once() -> None:
    statements: list[Statement] = [statement for statement, _, _ in PLANS.values()]
    assert len({hash(statement) for statement in statements}) == len(statements)
