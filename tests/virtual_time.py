"""Virtual time for tests: the simulator's loop and clock, and a decorator.

def test_something() -> None:
    run_virtual(scenario())

@in_virtual_time
async def test_something(tmp_path: Path) -> None:      # synchronous fixtures only
    clock = VirtualClock()
    await asyncio.sleep(3600.0)
    assert clock.now() == VIRTUAL_EPOCH + 3600.0
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from nexusd.simulator.virtual_time import VIRTUAL_EPOCH as VIRTUAL_EPOCH
from nexusd.simulator.virtual_time import VirtualClock as VirtualClock
from nexusd.simulator.virtual_time import VirtualTimeError as VirtualTimeError
from nexusd.simulator.virtual_time import VirtualTimeLoop as VirtualTimeLoop
from nexusd.simulator.virtual_time import run_virtual

P = ParamSpec("P")
T = TypeVar("T")


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make an async test a plain one that runs in virtual time."""

    @functools.wraps(test)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_virtual(test(*args, **kwargs))

    return wrapper
