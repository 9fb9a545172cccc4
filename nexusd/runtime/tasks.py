"""Supervision of the daemon's root tasks, on top of `asyncio.TaskGroup`. Used by `app.py`.

A worker is a coroutine that runs until it is asked to stop and then returns. One that ends earlier, by an
error or by returning, is a defect: the others are stopped in order, and the daemon ends loudly so that its
supervisor (systemd, a container engine) starts it again.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog

from nexusd.core.errors import NexusdError
from nexusd.core.shortage import describe_shortage
from nexusd.runtime import early_signals

log = structlog.get_logger()


class TaskDiedError(NexusdError):
    """A root task ended though nobody had asked for it; the cause is chained. Exit non-zero."""


async def run_until_stopped(
    tasks: Mapping[str, Coroutine[Any, Any, None]],
    stop: asyncio.Event,
    grace_s: float,
    at_once: asyncio.Event | None = None,
) -> None:
    """Run the named tasks until `stop` is set, then until they have returned.

    They have `grace_s` for that (product.md, `shutdown_timeout`); whoever still runs is cancelled then, or as
    soon as `at_once` is set. Raises `TaskDiedError` when one ended before `stop` was set; then `stop` is set
    for the others, and they have the same grace. A worker's error while stopping is logged and raised, too.
    """
    deaths: list[TaskDiedError] = []
    async with asyncio.TaskGroup() as group:
        running = [
            group.create_task(_watched(name, work, stop, deaths), name=name) for name, work in tasks.items()
        ]
        await _wait_for_any([stop.wait()], None)
        log.info("stopping", grace_s=grace_s)
        hurried = at_once.wait() if at_once is not None else asyncio.Event().wait()
        await _wait_for_any([hurried, _all_ended(running)], grace_s)
        for task in running:
            if not task.done():
                log.warning("task_cancelled", task=task.get_name())
                task.cancel()
    if deaths:
        raise deaths[0] from deaths[0].__cause__


async def until_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    """Run `work`, which never ends by itself, and cancel it when `stop` is set. Raises what it raised."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        task.cancel()
        await asyncio.wait([task])  # unlike awaiting the task, this does not swallow our own cancellation
    if not task.cancelled():
        task.result()


async def _watched(
    name: str, work: Coroutine[Any, Any, None], stop: asyncio.Event, deaths: list[TaskDiedError]
) -> None:
    """Run one task; its death stops the others and is added to `deaths`.

    It is logged once: a defect with its traceback, an error that was raised on purpose in one line.
    """
    try:
        await work
    except Exception as error:  # noqa: BLE001 - this is the supervisor; it is logged and raised below
        cause = error
    else:
        if stop.is_set():
            return
        cause = RuntimeError("it returned before it was asked to stop")
    shortage = describe_shortage(cause)
    root = NexusdError(f"{name}: {shortage}") if shortage is not None else _root(cause)
    if isinstance(root, TaskDiedError):  # logged where it died
        death = root
    elif isinstance(root, NexusdError):
        death = TaskDiedError(str(root))
        if all(str(other) != str(root) for other in deaths):
            log.error("task_died", task=name, error=str(root))
    else:
        log.error("task_died", task=name, exc_info=cause)
        death = TaskDiedError(f"{name} died: {cause!r}")
    death.__cause__ = death.__cause__ or cause
    deaths.append(death)
    stop.set()


def _root(error: BaseException) -> BaseException:
    """Return the one error inside nested groups, else the outermost group."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    roots = [_root(each) for each in error.exceptions]
    return roots[0] if len({str(root) for root in roots}) == 1 else error


async def _all_ended(running: list[asyncio.Task[None]]) -> None:
    if running:
        await asyncio.wait(running)


async def _wait_for_any(waits: list[Coroutine[Any, Any, Any]], timeout_s: float | None) -> None:
    """Until the first of them ends or the time is over; the others are cancelled."""
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(wait) for wait in waits]
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()


@contextmanager
def signals_handled(
    stop: asyncio.Event, at_once: asyncio.Event, reload: Callable[[], None]
) -> Iterator[None]:
    """Handle signals while entered.

    SIGTERM and SIGINT set `stop`, and `at_once` when repeated. SIGHUP calls `reload`, also one that arrived
    before.

    Enter it on the running loop, in the main thread.
    """
    loop = asyncio.get_running_loop()

    def asked_to_stop(name: str) -> None:
        log.info("signal_received", signal=name)
        (at_once if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop, number.name)
    loop.add_signal_handler(signal.SIGHUP, reload)
    if early_signals.reload_requested():
        reload()
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # its default would end a daemon that is stopping
