"""What a transaction promises its caller, on both databases."""

from __future__ import annotations

import asyncio
import threading

import pytest

from nexusd.core.errors import ConflictError, StoreError, StoreUnavailableError
from nexusd.core.events import Event, Subject
from nexusd.core.lifecycle import Attempt
from nexusd.ports import Transaction
from nexusd.store.executors import InlineExecutor
from nexusd.store.store import SqlStore
from tests.store.conftest import Opener


def write(tx: Transaction, name: str) -> str:
    tx.events.append([Event(1.0, name, Subject("daemon", "x"))])
    return name


async def written(store: SqlStore) -> list[str]:
    return [event.type for event in await store.run(lambda tx: tx.events.since(None, None, 1000))]


class Gate:
    """Holds the store's thread inside a transaction, so that what is run meanwhile waits and is one batch."""

    def __init__(self, store: SqlStore) -> None:
        self._entered = threading.Event()
        self._open = threading.Event()
        self._task = asyncio.ensure_future(store.run(self._wait))

    def _wait(self, tx: Transaction) -> None:
        self._entered.set()
        self._open.wait(10)

    async def entered(self) -> None:
        await asyncio.to_thread(self._entered.wait, 10)

    async def open(self) -> None:
        self._open.set()
        await self._task


async def gated(store: SqlStore) -> Gate:
    gate = Gate(store)
    await gate.entered()
    return gate


async def test_a_transaction_gives_what_its_function_returned(store: SqlStore) -> None:
    assert await store.run(lambda tx: write(tx, "A")) == "A"
    assert await written(store) == ["A"]


async def test_what_raises_is_undone_and_its_error_reaches_its_caller(store: SqlStore) -> None:
    def work(tx: Transaction) -> None:
        write(tx, "lost")
        raise ConflictError("taken")

    with pytest.raises(ConflictError, match="taken"):
        await store.run(work)
    assert await written(store) == []


async def test_one_that_raises_takes_nothing_with_it_from_its_batch(store: SqlStore) -> None:
    def fail(tx: Transaction) -> None:
        write(tx, "lost")
        raise ValueError("mine")

    gate = await gated(store)
    first, second, third = (
        asyncio.ensure_future(store.run(work))
        for work in (lambda tx: write(tx, "A"), fail, lambda tx: write(tx, "B"))
    )
    await asyncio.sleep(0)
    await gate.open()
    results = await asyncio.gather(first, second, third, return_exceptions=True)
    assert results[0] == "A"
    assert isinstance(results[1], ValueError)
    assert results[2] == "B"
    assert await written(store) == ["A", "B"]


async def test_a_failed_statement_that_the_function_hides_still_fails_its_transaction_alone(
    store: SqlStore,
) -> None:
    def hide(tx: Transaction) -> None:
        write(tx, "lost")
        try:
            tx.placements.add_attempt(Attempt("nobody", 1, "eu-1", 1.0, 2.0, 1))
        except Exception as error:
            raise KeyError("hidden") from error

    with pytest.raises(KeyError):
        await store.run(hide)
    await store.run(lambda tx: write(tx, "A"))
    assert await written(store) == ["A"]


async def test_a_violated_constraint_is_a_store_error_and_not_called_passing(store: SqlStore) -> None:
    with pytest.raises(StoreError) as caught:
        await store.run(lambda tx: tx.placements.add_attempt(Attempt("nobody", 1, "eu-1", 1.0, 2.0, 1)))
    assert type(caught.value) is StoreError


async def test_transactions_run_in_the_order_they_were_asked_for(store: SqlStore) -> None:
    gate = await gated(store)
    names = [f"n{n}" for n in range(50)]
    waiting = [asyncio.ensure_future(store.run(lambda tx, name=name: write(tx, name))) for name in names]
    await asyncio.sleep(0)
    await gate.open()
    await asyncio.gather(*waiting)
    assert await written(store) == names


async def test_a_caller_cancelled_while_waiting_disturbs_nobody_and_its_transaction_is_not_begun(
    store: SqlStore,
) -> None:
    gate = await gated(store)
    first = asyncio.ensure_future(store.run(lambda tx: write(tx, "A")))
    cancelled = asyncio.ensure_future(store.run(lambda tx: write(tx, "cancelled")))
    last = asyncio.ensure_future(store.run(lambda tx: write(tx, "B")))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    await gate.open()
    assert await asyncio.gather(first, last) == ["A", "B"]
    assert await written(store) == ["A", "B"]
    assert cancelled.cancelled()


async def test_a_caller_cancelled_while_its_transaction_runs_leaves_the_store_working(
    store: SqlStore,
) -> None:
    entered, leave = threading.Event(), threading.Event()

    def work(tx: Transaction) -> None:
        write(tx, "A")
        entered.set()
        leave.wait(10)

    running = asyncio.ensure_future(store.run(work))
    await asyncio.to_thread(entered.wait, 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    leave.set()
    assert await written(store) == ["A"]


async def test_stop_iteration_reaches_the_caller_as_an_error_it_can_see(store: SqlStore) -> None:
    def work(tx: Transaction) -> None:
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        await store.run(work)


async def test_a_closed_store_takes_no_more(opened: Opener) -> None:
    store = opened()
    await store.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.run(lambda tx: None)
    await store.close()


async def test_what_was_asked_for_before_closing_is_committed(opened: Opener) -> None:
    store = opened()
    waiting = [asyncio.ensure_future(store.run(lambda tx, n=n: write(tx, f"n{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    await store.close()
    assert len(await asyncio.gather(*waiting)) == 20
    assert len(await written(opened())) == 20


async def test_transactions_run_off_the_event_loop_by_default(store: SqlStore) -> None:
    assert await store.run(lambda tx: threading.current_thread().name) == "nexusd-store"


async def test_inline_transactions_run_on_the_event_loops_own_thread(opened: Opener) -> None:
    store = opened(executor=InlineExecutor())
    threads = {thread.name for thread in threading.enumerate()}
    assert await store.run(lambda tx: threading.current_thread()) is threading.current_thread()
    assert await store.run(lambda tx: write(tx, "A")) == "A"
    with pytest.raises(ConflictError):
        await store.run(lambda tx: (_ for _ in ()).throw(ConflictError("x")))
    assert {thread.name for thread in threading.enumerate()} == threads
    await store.close()
    with pytest.raises(StoreUnavailableError):
        await store.run(lambda tx: None)


async def test_inline_transactions_let_others_run_between_them(opened: Opener) -> None:
    store = opened(executor=InlineExecutor())
    turns: list[str] = []

    async def caller(name: str) -> None:
        for _ in range(2):
            await store.run(lambda tx: turns.append(name))

    await asyncio.gather(caller("a"), caller("b"))
    assert turns == ["a", "b", "a", "b"]
