"""Signals that arrive before the event loop handles them.

Imports and opening the store take a second.

Installed by `__main__` for `nexusd run`, replaced by `tasks.signals_handled`. Imports nothing slow.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

_received: set[int] = set()


def install() -> None:
    """End with exit code 0 at SIGTERM, and remember SIGHUP.

    Nothing is under way yet that an exit could harm: what the store commits survives a kill at any point.
    """
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGHUP, _remember)


def reload_requested() -> bool:
    """Whether SIGHUP arrived; the configuration may have been read before."""
    requested = signal.SIGHUP in _received
    _received.clear()
    return requested


def _exit(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)


def _remember(number: int, _frame: FrameType | None) -> None:
    _received.add(number)
