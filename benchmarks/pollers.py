"""Processes that poll when they are told to, and say what it cost: the reference poll, and nexusd's cycle.

`python -m benchmarks.pollers reference|nexusd URL CONCURRENCY` takes lines from stdin, `poll` or `watch`
(the same with the event loop looked at each millisecond), and answers each with a line of JSON.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import msgspec
import structlog

from benchmarks.cycling import cycle_over
from benchmarks.loops import LoopWatch
from benchmarks.processes import Process
from benchmarks.reference_poll import ReferencePoll
from nexusd.runtime import loop

Poll = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll took of its process. `stall_s`: the longest that its loop's thread was busy at a stretch,
    by its own CPU time, which others on the machine do not add to; 0 when it was not looked at.
    """

    cpu_s: float
    wall_s: float
    stall_s: float = 0.0


class Poller:
    """One such process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.process = Process(process.pid)

    def poll(self) -> Polled:
        return self._ask("poll")

    def watch(self) -> Polled:
        return self._ask("watch")

    def _ask(self, what: str) -> Polled:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("a poller without pipes")
        print(what, file=stdin, flush=True)
        return msgspec.json.decode(stdout.readline(), type=Polled)


@contextmanager
def poller(kind: str, url: str, concurrency: int) -> Iterator[Poller]:
    """A process that has polled once; `kind`: `reference` or `nexusd`."""
    command = [sys.executable, "-m", "benchmarks.pollers", kind, url, str(concurrency)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        started = Poller(process)
        started.poll()
        yield started
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def _reference(url: str, concurrency: int) -> AsyncIterator[Poll]:
    async with ReferencePoll(url, concurrency) as reference:
        yield reference.poll


@asynccontextmanager
async def _nexusd(url: str, concurrency: int) -> AsyncIterator[Poll]:
    """Also looks at the alerts of all instances, as it does after its first poll, before the first answer."""
    async with cycle_over(url, concurrency) as cycle:

        async def poll() -> None:
            await cycle.poll_instances()

        await poll()
        await _idle()
        loop.freeze()
        yield poll


async def _idle() -> None:
    """Until hardly anything is done for half a second."""
    while True:
        before = time.process_time()
        await asyncio.sleep(0.5)
        if time.process_time() - before < 0.02:
            return


async def _measured(poll: Poll, watch: LoopWatch | None) -> Polled:
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    await poll()
    stall_s = await watch.stop() if watch is not None else 0.0
    return Polled(time.process_time() - cpu_s, time.perf_counter() - wall_s, stall_s)


async def _serve(kind: str, url: str, concurrency: int) -> None:
    opened = {"reference": _reference, "nexusd": _nexusd}[kind]
    async with opened(url, concurrency) as poll:
        while line := await asyncio.to_thread(sys.stdin.readline):
            polled = await _measured(poll, LoopWatch() if line.strip() == "watch" else None)
            print(msgspec.json.encode(polled).decode(), flush=True)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    loop.run(_serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
