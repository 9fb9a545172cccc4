"""Virtual time: a day of timers runs in milliseconds, and the same every time.

`VirtualTimeLoop` is a selector event loop whose `time()` stands still while anything is ready and jumps to
the next timer when nothing is. Executors run inline, so a thread never works behind the loop's back. Sockets
stay real, so aiohttp's client and server run in virtual time too (addresses as numbers, no name look-ups).
Linux delivers over loopback within the `send` call, or, on a busy machine, soon afterwards by a thread of its
own: the loop gives it `DELIVERY_S` before it jumps.

Used by the simulator, and by the tests through `tests/virtual_time.py`.
"""

from __future__ import annotations

import asyncio
import contextvars
import fcntl
import selectors
import struct
import termios
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

VIRTUAL_EPOCH = 1_700_000_000.0
"""What `VirtualClock.now()` says when the loop's time is 0, in seconds since the epoch (2023-11-14, UTC)."""

LONGEST_RUN_S = 400 * 86_400.0
"""Virtual seconds after which a run is taken for one that will never end."""

STUCK_AFTER_REAL_S = 5.0
"""Real seconds to wait for a socket or another thread when no timer is set."""

DELIVERY_S = 0.001
"""Real seconds to wait for sockets before a jump."""


class VirtualTimeError(AssertionError):
    """The run can never end: nothing is ready and no timer is set, or it passed its limit."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits while a timer is set: tells the loop to jump there instead."""

    jump: Callable[[float], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            ready = super().select(STUCK_AFTER_REAL_S)
            if not ready:
                raise VirtualTimeError("nothing is ready, no timer is set: this would wait for ever")
            return ready
        if self._is_sending() and (ready := super().select(DELIVERY_S)):
            return ready
        self.jump(timeout)
        return ready

    def _is_sending(self) -> bool:
        """Whether a TCP socket has bytes that its peer's kernel has not acknowledged (tcp(7), SIOCOUTQ)."""
        sockets = self.get_map()
        return len(sockets) > 1 and any(_unacknowledged_bytes(key.fd) for key in sockets.values())


def _unacknowledged_bytes(fd: int) -> int:
    try:
        queued: int = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)))[0]
    except OSError:  # listening, or closed by the peer
        return 0
    return queued


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See the module. `limit_s`: the virtual time at which to give up."""

    def __init__(self, limit_s: float = LONGEST_RUN_S) -> None:
        self._virtual_now = 0.0
        self._limit_s = limit_s
        selector = _JumpingSelector()
        selector.jump = self._jump
        super().__init__(selector)

    def time(self) -> float:
        return self._virtual_now

    def block(self, seconds: float) -> None:
        """Let time pass in which nothing runs, as while the process is stopped."""
        self._jump(seconds)

    def _jump(self, seconds: float) -> None:
        self._virtual_now += seconds
        if self._virtual_now > self._limit_s:
            raise VirtualTimeError(f"still running after {self._limit_s:.0f} virtual seconds")

    def run_in_executor(  # type: ignore[override]  # typeshed's overloads say the same in a longer way
        self,
        executor: Executor | None,  # noqa: ARG002 - asyncio's signature
        func: Callable[..., T],
        *args: Any,
    ) -> asyncio.Future[T]:
        """Run it now, on the loop's thread, in a copy of the caller's context as a thread would."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(contextvars.copy_context().run(func, *args))
        except Exception as error:  # noqa: BLE001 - a future carries whatever its function raised
            future.set_exception(error)
        return future


class VirtualClock:
    """`ports.Clock` over the loop's time. Set `offset_s` to say how far the wall clock was stepped."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None, epoch: float = VIRTUAL_EPOCH) -> None:
        self._loop = loop if loop is not None else asyncio.get_running_loop()
        self._epoch = epoch
        self.offset_s = 0.0

    def now(self) -> float:
        return self._epoch + self._loop.time()

    def utc_offset_s(self) -> float:
        return self.offset_s

    def suspend(self, seconds: float) -> None:
        """Advance time that the loop's timers do not count, as in a suspended machine."""
        self._epoch += seconds


def run_virtual(coro: Coroutine[Any, Any, T], *, limit_s: float = LONGEST_RUN_S) -> T:
    """Run to the end in virtual time. Raises what it raised, or `VirtualTimeError`."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(limit_s)) as runner:
        return runner.run(coro)
