"""Which event loop the daemon runs on, and what the garbage collector leaves alone. Used by `app`.

uvloop halves what a poll of many pages costs outside decoding (performance.md); where it is not installed,
asyncio's own loop does the same work.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Coroutine
from typing import Any

try:
    import uvloop
except ImportError:
    new_event_loop = asyncio.new_event_loop
else:
    new_event_loop = uvloop.new_event_loop

_COLLECT_AFTER = 1_000, 20, 50
"""Objects made and not freed before the young are looked at (700 by default), and how often before the older.
The records of a fleet, alerts and events are none of them. The fewer full collections, the fewer pauses; but
a tuple of rows is walked through when it is young, so not too many of those at once."""

_THREADS_TAKE_TURNS_AFTER_S = 0.0002
"""How long a thread that computes keeps another waiting each time that one is woken (5 ms by default). An
answer takes several wakings, and reading the store one for each row."""


_GLIBC_HEAP = {
    "MALLOC_ARENA_MAX": (-8, 1),
    "MALLOC_MMAP_THRESHOLD_": (-3, 1 << 20),
    "MALLOC_TRIM_THRESHOLD_": (-1, 2 << 20),
}
"""What mallopt(3) is told unless the variable says otherwise: its parameter's number and value.

By default nearly every thread gets a heap of its own, and each keeps what the largest pass it ever did has
needed; but threads take turns here. And each large block that is freed moves the limit (bytes) from which
blocks get pages of their own, so that in time bodies of several MB come and go between small ones.
"""


_LOOKUP_THREADS = "UV_THREADPOOL_SIZE", "32"
"""Half of libuv's threads look names up (of 4 by default, so 2 names at once), each until the resolver gives
up: receivers whose names hang must not keep the cloud's waiting."""


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run it to its end on a new loop. Raises what it raised."""
    gc.freeze()  # the modules
    os.environ.setdefault(*_LOOKUP_THREADS)  # read by libuv when it first needs a thread
    keep_heap_small()
    gc.set_threshold(*_COLLECT_AFTER)
    sys.setswitchinterval(_THREADS_TAKE_TURNS_AFTER_S)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main)


def keep_heap_small() -> None:
    """Where the C library knows how, and nobody has said otherwise. Threads that began before have heaps of
    their own, and later ones share those.
    """
    for variable, (parameter, value) in _GLIBC_HEAP.items():
        if variable not in os.environ:
            with contextlib.suppress(OSError, AttributeError):
                ctypes.CDLL(None).mallopt(parameter, value)


def freeze() -> None:
    """Spare the collector what is there for good: parts and connections, the first snapshot.

    With the modules it would be 100 ms for nothing at each full collection, at a moment of its own choosing.
    Nothing is collected before: that would take as long, once, and there is little to find.
    """
    gc.freeze()
