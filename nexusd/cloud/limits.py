"""What holds requests back: the rate limit, `Retry-After`, and the circuit breaker. All in loop time.

One of each for the whole API, kept by `client`. None of them waits but `Pace.turn` and `Stretch.turn`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from nexusd.core.errors import UnavailableError

RETRY_AFTER_UNSAID_S = 5.0
"""Waited after a 429 that does not say how long."""

_NOT_WORTH_A_TIMER_S = 0.002

LONGEST_STRETCH_S = 0.002
"""Decoding may take so long, and one answer more, before others have their turn."""


class Pace:
    """A token bucket of one token: requests leave at least `1 / per_second` s apart, in order of arrival."""

    __slots__ = ("_interval_s", "_next_at")

    def __init__(self, per_second: float) -> None:
        self._interval_s = 1.0 / per_second
        self._next_at = 0.0

    async def turn(self) -> None:
        """Wait for this caller's turn."""
        now = asyncio.get_running_loop().time()
        turn_at = max(now, self._next_at)
        self._next_at = turn_at + self._interval_s
        if turn_at - now > _NOT_WORTH_A_TIMER_S:
            await asyncio.sleep(turn_at - now)


class HoldBack:
    """Until when the whole API asked to be left alone."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = 0.0

    def extend(self, now: float, wait_s: float) -> None:
        self._until = max(self._until, now + wait_s)

    def remaining_s(self, now: float) -> float:
        return max(0.0, self._until - now)


class CircuitBreaker:
    """Opens after `failures` in a row; then one probe at a time, each failed one doubling the wait.

    `changed` is told `open` or `closed`.
    """

    def __init__(
        self, failures: int, first_wait_s: float, longest_wait_s: float, changed: Callable[[str], None]
    ) -> None:
        self._limit = failures
        self._first_wait_s = first_wait_s
        self._longest_wait_s = longest_wait_s
        self._changed = changed
        self._failed = 0
        self._wait_s = 0.0
        self._probe_at = 0.0
        self._probing = False
        self._open = False

    @property
    def open(self) -> bool:
        return self._open

    def enter(self, now: float) -> bool:
        """Ask to send a request; True when it is the probe. Raises `UnavailableError` (`circuit_open`)."""
        if not self._open:
            return False
        if self._probing or now < self._probe_at:
            raise UnavailableError(
                "the API has failed repeatedly; waiting before it is tried again", "circuit_open"
            )
        self._probing = True
        return True

    def succeeded(self) -> None:
        """The API answered."""
        self._failed = 0
        self._probing = False
        if self._open:
            self._open = False
            self._changed("closed")

    def failed(self, now: float, *, probe: bool) -> None:
        """The API gave no usable answer. Of an open circuit only the probe counts."""
        self._failed += 1
        if self._open:
            if probe:
                self._probing = False
                self._wait_s = min(self._longest_wait_s, 2 * self._wait_s)
                self._probe_at = now + self._wait_s
        elif self._failed >= self._limit:
            self._open = True
            self._wait_s = self._first_wait_s
            self._probe_at = now + self._wait_s
            self._changed("open")

    def abandoned(self, *, probe: bool) -> None:
        """The request was given up before anything was learnt."""
        if probe:
            self._probing = False


class Stretch:
    """How long decoding keeps the event loop in one turn of it: answers that came together are not all
    decoded before anybody else has a turn.

    await stretch.turn()
    with stretch:
        decode(body)
    """

    def __init__(self) -> None:
        self._spent_s = 0.0
        self._began_s = 0.0

    async def turn(self) -> None:
        """Wait for a later turn of the loop when this one has had enough."""
        while self._spent_s >= LONGEST_STRETCH_S:  # noqa: ASYNC110 - the next turn comes by itself
            await asyncio.sleep(0)

    def __enter__(self) -> None:
        if not self._spent_s:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._began_s = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._spent_s += time.perf_counter() - self._began_s

    def _next_turn(self) -> None:
        self._spent_s = 0.0
