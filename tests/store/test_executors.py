"""The store's thread: what it does between jobs, and that nothing ends it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from nexusd.store.commits import Job, Kind
from nexusd.store.executors import StoreThread


def job() -> Job:
    return Job(lambda tx: None, Kind.PLAIN, 0, asyncio.get_running_loop().create_future())


def done(waiting: Iterator[Job]) -> list[Job]:
    return list(waiting)


async def test_it_pauses_after_each_batch_and_once_nobody_has_asked_for_a_while() -> None:
    pauses: queue.SimpleQueue[bool] = queue.SimpleQueue()
    thread = StoreThread()
    thread.start(done, lambda *, idle: pauses.put(idle))
    for _ in range(2):
        one = job()
        thread.submit(one)
        await one.future
        assert [await asyncio.to_thread(pauses.get, timeout=10) for _ in range(2)] == [False, True]
    await thread.close(lambda: None)


async def test_while_jobs_follow_each_other_it_is_not_idle() -> None:
    pauses: list[bool] = []
    thread = StoreThread()
    jobs = [job() for _ in range(50)]
    left = iter(jobs[1:])

    def process(waiting: Iterator[Job]) -> list[Job]:
        ran = [next(waiting)]
        following = next(left, None)
        if following is not None:
            thread.submit(following)
        return ran

    thread.start(process, lambda *, idle: pauses.append(idle))
    thread.submit(jobs[0])
    await asyncio.gather(*(one.future for one in jobs))
    await thread.close(lambda: None)
    assert pauses[: len(jobs)].count(True) == 0


async def test_a_pause_that_fails_is_logged_and_ends_nothing() -> None:
    def fail(*, idle: bool) -> None:
        raise RuntimeError("it failed")

    thread = StoreThread()
    with capture_logs() as logs:
        thread.start(done, fail)
        for _ in range(2):
            one = job()
            thread.submit(one)
            await asyncio.wait_for(one.future, 10)
        await thread.close(lambda: None)
    assert {line["event"] for line in logs} == {"store_pause_failed"}


async def test_a_stop_does_not_wait_for_a_database_that_never_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nexusd.store.executors.CLOSE_WITHIN_S", 0.01)
    reached, leave = threading.Event(), threading.Event()

    def hang(waiting: Iterator[Job]) -> list[Job]:
        reached.set()
        leave.wait(10)
        return list(waiting)

    thread = StoreThread()
    thread.start(hang)
    thread.submit(job())
    await asyncio.to_thread(reached.wait, 10)
    with capture_logs() as logs:
        await thread.close(lambda: None)
    assert [entry["event"] for entry in logs] == ["store_close_timed_out"]
    leave.set()
