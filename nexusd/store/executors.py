"""Where transactions run: on a thread of the store's, or inline where virtual time allows no thread."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

import structlog

from nexusd.core.errors import StoreBrokenError, StoreUnavailableError
from nexusd.store.commits import Job

log = structlog.get_logger()

MAX_BATCH = 512
"""Transactions committed together at most."""

MAX_BATCH_S = 0.05
"""No transaction joins a commit that has been collecting for longer, so that the first need not wait."""

CLOSE_WITHIN_S = 2.0
"""How long a stop waits for a transaction under way: a server that drops packets may never answer it. The
thread does not outlive the process, and an unfinished transaction is rolled back."""

IDLE_AFTER_S = 0.02
"""Nobody has asked for anything for so long."""

Process: TypeAlias = Callable[[Iterator[Job]], list[Job]]


class Pause(Protocol):
    def __call__(self, *, idle: bool) -> None:
        """Called after each `Process`. `idle`: no job waits."""
        ...


def no_pause(*, idle: bool) -> None:
    """Nothing is to be done between jobs."""


class Executor(Protocol):
    def start(self, process: Process, pause: Pause = no_pause) -> None:
        """`process` runs the waiting jobs it is given and returns them done; then `pause` is called."""
        ...

    def submit(self, job: Job) -> None:
        """From the event loop; the job's future is resolved on it later."""
        ...

    async def close(self, finish: Callable[[], None]) -> None:
        """Run what was submitted, then `finish`. Later submissions raise `StoreUnavailableError`."""
        ...

    def beside(self) -> Executor:
        """Another of its kind, whose jobs do not wait for this one's."""
        ...


class InlineExecutor:
    """Runs each transaction at once on the event loop's own thread, for virtual time."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._pause: Pause = no_pause

    def start(self, process: Process, pause: Pause = no_pause) -> None:
        self._process, self._pause = process, pause

    def submit(self, job: Job) -> None:
        if self._process is None:
            raise StoreUnavailableError("the store is closed")
        self._process(iter((job,)))
        _paused(self._pause, idle=True)
        job.future.get_loop().call_soon(job.resolve)

    async def close(self, finish: Callable[[], None]) -> None:
        if self._process is not None:
            self._process = None
            finish()

    def beside(self) -> InlineExecutor:
        return InlineExecutor()


class StoreThread:
    """A thread that takes all that waits, and wakes the event loop once for the whole batch."""

    def __init__(self, name: str = "nexusd-store") -> None:
        self._name = name
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._closing = False
        self._finish: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None

    def start(self, process: Process, pause: Pause = no_pause) -> None:
        # A daemon thread: whatever happens to it, a crashed process must be able to end.
        self._thread = threading.Thread(
            target=self._loop, args=(process, pause), name=self._name, daemon=True
        )
        self._thread.start()

    def submit(self, job: Job) -> None:
        if self._closing or self._thread is None:
            raise StoreUnavailableError("the store is closed")
        self._waiting.put(job)

    async def close(self, finish: Callable[[], None]) -> None:
        if not self._closing:
            self._closing = True
            self._finish = finish
            self._waiting.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, CLOSE_WITHIN_S)
            if self._thread.is_alive():
                log.warning("store_close_timed_out", thread=self._name, seconds=CLOSE_WITHIN_S)

    def beside(self) -> StoreThread:
        return StoreThread(f"{self._name}-reads")

    def _loop(self, process: Process, pause: Pause) -> None:
        while (first := self._next(pause)) is not None:
            taken: list[Job] = []
            try:
                done = process(self._batch(first, taken))
            except Exception as error:
                log.exception("store_thread_failed")
                done = taken
                for job in taken:
                    job.error = StoreBrokenError(f"the store failed unexpectedly: {error!r}")
            _resolve(done)
            _paused(pause, idle=False)
        if self._finish is not None:
            self._finish()

    def _next(self, pause: Pause) -> Job | None:
        """The next that waits, None at the end. Those who were just told have time to ask for more."""
        try:
            return self._waiting.get(timeout=IDLE_AFTER_S)
        except queue.Empty:
            _paused(pause, idle=True)
            return self._waiting.get()

    def _batch(self, first: Job, taken: list[Job]) -> Iterator[Job]:
        """The first and whatever else waits, within bounds."""
        # The monotonic clock itself: this bounds real work of this thread, not the daemon's time.
        until = time.monotonic() + MAX_BATCH_S
        job: Job | None = first
        while job is not None:
            taken.append(job)
            yield job
            if len(taken) >= MAX_BATCH or time.monotonic() >= until:
                return
            try:
                job = self._waiting.get_nowait()
            except queue.Empty:
                return
        self._waiting.put(None)  # the end was met in here: `_loop` must see it too


def _paused(pause: Pause, *, idle: bool) -> None:
    """Whatever becomes of it, the thread goes on: it would be waited for in vain."""
    try:
        pause(idle=idle)
    except Exception:
        log.exception("store_pause_failed")


def _resolve(jobs: list[Job]) -> None:
    """One wake-up for each event loop concerned, which is one."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.future.get_loop(), []).append(job)
    for loop, its in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve_on_loop, its)
        except RuntimeError:
            log.warning("store_caller_gone", jobs=len(its))  # its event loop is closed: nobody waits


def _resolve_on_loop(jobs: list[Job]) -> None:
    for job in jobs:
        job.resolve()
