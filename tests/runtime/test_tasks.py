from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine

import pytest
from structlog.testing import capture_logs

from nexusd.core.errors import StoreBrokenError
from nexusd.runtime.tasks import TaskDiedError, run_until_stopped, signals_handled, until_stopped
from tests.virtual_time import in_virtual_time


async def until(stop: asyncio.Event, ended: list[str], name: str, drain_s: float = 0.0) -> None:
    """A good worker: works until it is asked to stop, finishes what it has in `drain_s`, returns."""
    try:
        await stop.wait()
        await asyncio.sleep(drain_s)
        ended.append(f"{name} finished")
    except asyncio.CancelledError:
        ended.append(f"{name} cancelled")
        raise


async def fails_after(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise ValueError("boom")


async def set_after(event: asyncio.Event, seconds: float) -> None:
    await asyncio.sleep(seconds)
    event.set()


async def run_beside(main: Coroutine[object, object, None], *others: Coroutine[object, object, None]) -> None:
    async with asyncio.TaskGroup() as group:
        for other in others:
            group.create_task(other)
        await main


@in_virtual_time
async def test_workers_that_return_in_time_are_not_cancelled() -> None:
    stop, ended = asyncio.Event(), list[str]()
    tasks = {"a": until(stop, ended, "a"), "b": until(stop, ended, "b", drain_s=19.0)}
    await run_beside(run_until_stopped(tasks, stop, grace_s=20.0), set_after(stop, 100.0))
    assert ended == ["a finished", "b finished"]
    assert asyncio.get_running_loop().time() == 119.0


@in_virtual_time
async def test_a_worker_that_takes_longer_than_the_grace_is_cancelled() -> None:
    stop, ended = asyncio.Event(), list[str]()
    tasks = {"slow": until(stop, ended, "slow", drain_s=3600.0)}
    await run_beside(run_until_stopped(tasks, stop, grace_s=20.0), set_after(stop, 1.0))
    assert ended == ["slow cancelled"]
    assert asyncio.get_running_loop().time() == 21.0


@in_virtual_time
async def test_a_second_request_cuts_the_grace_short() -> None:
    stop, at_once, ended = asyncio.Event(), asyncio.Event(), list[str]()
    tasks = {"slow": until(stop, ended, "slow", drain_s=3600.0)}
    await run_beside(
        run_until_stopped(tasks, stop, 20.0, at_once), set_after(stop, 1.0), set_after(at_once, 3.0)
    )
    assert ended == ["slow cancelled"]
    assert asyncio.get_running_loop().time() == 3.0


@in_virtual_time
async def test_a_death_is_logged_with_its_error_and_stops_the_others_in_order() -> None:
    stop, ended = asyncio.Event(), list[str]()
    tasks = {"poll": fails_after(5.0), "worker": until(stop, ended, "worker", drain_s=2.0)}
    with capture_logs() as logs, pytest.raises(TaskDiedError, match="poll died: ValueError") as caught:
        await run_until_stopped(tasks, stop, grace_s=20.0)
    assert isinstance(caught.value.__cause__, ValueError)
    assert ended == ["worker finished"]
    (death,) = [entry for entry in logs if entry["event"] == "task_died"]
    assert death["task"] == "poll"
    assert death["exc_info"]


@in_virtual_time
async def test_a_task_that_returns_too_early_has_died() -> None:
    with capture_logs(), pytest.raises(TaskDiedError, match="returned before it was asked to stop"):
        await run_until_stopped({"brief": asyncio.sleep(1.0)}, asyncio.Event(), grace_s=20.0)


@in_virtual_time
async def test_an_error_while_stopping_is_not_hidden() -> None:
    stop = asyncio.Event()

    async def fails_at_the_end() -> None:
        await stop.wait()
        raise OSError("could not write the last row")

    with capture_logs(), pytest.raises(TaskDiedError, match="last row"):
        await run_beside_or_raise(run_until_stopped({"w": fails_at_the_end()}, stop, 5.0), stop)


async def run_beside_or_raise(main: Coroutine[object, object, None], stop: asyncio.Event) -> None:
    asyncio.get_running_loop().call_later(1.0, stop.set)
    await main


@in_virtual_time
async def test_cancelling_the_whole_cancels_every_task() -> None:
    ended = list[str]()
    stop = asyncio.Event()
    tasks = {name: until(stop, ended, name) for name in "ab"}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5.0):
            await run_until_stopped(tasks, stop, grace_s=20.0)
    assert sorted(ended) == ["a cancelled", "b cancelled"]


@in_virtual_time
async def test_tasks_carry_their_names() -> None:
    stop = asyncio.Event()
    names = list[str]()

    async def worker() -> None:
        task = asyncio.current_task()
        assert task is not None
        names.append(task.get_name())
        await stop.wait()

    await run_beside(run_until_stopped({"poll-regions": worker()}, stop, 1.0), set_after(stop, 1.0))
    assert names == ["poll-regions"]


def _kill(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_asks_to_stop_and_a_second_one_insists(number: signal.Signals) -> None:
    stop, at_once = asyncio.Event(), asyncio.Event()
    with signals_handled(stop, at_once, lambda: None):
        _kill(number)()
        await asyncio.wait_for(stop.wait(), 5.0)
        assert not at_once.is_set()
        _kill(number)()
        await asyncio.wait_for(at_once.wait(), 5.0)


async def test_sighup_asks_for_a_reload_and_nothing_else() -> None:
    stop, at_once, reloaded = asyncio.Event(), asyncio.Event(), asyncio.Event()
    with signals_handled(stop, at_once, reloaded.set):
        _kill(signal.SIGHUP)()
        await asyncio.wait_for(reloaded.wait(), 5.0)
    assert not stop.is_set()


async def test_the_handlers_are_gone_afterwards() -> None:
    with signals_handled(asyncio.Event(), asyncio.Event(), lambda: None):
        pass
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


async def endless(ended: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("cancelled")


@in_virtual_time
async def test_endless_work_is_cancelled_when_asked_to_stop() -> None:
    stop, ended = asyncio.Event(), list[str]()
    asyncio.get_running_loop().call_later(3.0, stop.set)
    await until_stopped(endless(ended), stop)
    assert ended == ["cancelled"]


@in_virtual_time
async def test_endless_work_that_fails_says_so() -> None:
    with pytest.raises(ValueError, match="boom"):
        await until_stopped(fails_after(1.0), asyncio.Event())


@in_virtual_time
async def test_cancelling_who_waits_for_endless_work_ends_it_and_is_not_swallowed() -> None:
    ended = list[str]()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await until_stopped(endless(ended), asyncio.Event())
    assert ended == ["cancelled"]


async def breaks(name: str) -> None:
    """A worker that meets a broken store, inside a group of its own."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_breaks(), name=name)


async def _breaks() -> None:
    raise StoreBrokenError("SQLite file x: disk I/O error")


async def test_an_error_that_was_raised_on_purpose_is_one_line_however_many_meet_it() -> None:
    stop = asyncio.Event()
    with capture_logs() as logs, pytest.raises(TaskDiedError, match=r"^SQLite file x: disk I/O error$"):
        await run_until_stopped({name: breaks(name) for name in "abc"}, stop, 1.0)
    died = [entry for entry in logs if entry["event"] == "task_died"]
    assert [(entry["error"], "exc_info" in entry) for entry in died] == [
        ("SQLite file x: disk I/O error", False)
    ]


async def test_a_death_inside_a_group_of_tasks_is_logged_where_it_happened() -> None:
    stop = asyncio.Event()

    async def engine() -> None:
        await run_until_stopped({"worker": breaks("worker")}, asyncio.Event(), 1.0)

    with capture_logs() as logs, pytest.raises(TaskDiedError, match="disk I/O error"):
        await run_until_stopped({"engine": engine()}, stop, 1.0)
    assert [entry["task"] for entry in logs if entry["event"] == "task_died"] == ["worker"]
