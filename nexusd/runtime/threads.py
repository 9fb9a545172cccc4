"""Checks at the start that all threads fit the limits of the process.

Used by `app`.

libuv aborts the process when it cannot start a thread of its pool, and it starts them when the first name is
looked up. So a limit that is too low is found out before.
"""

from __future__ import annotations

import threading

from nexusd.core.errors import StartError
from nexusd.core.shortage import describe_shortage

NEEDED = 48
"""libuv's pool (32), asyncio's, and those of the store and the log."""


def check_limit() -> None:
    """Start as many threads as the daemon may need, and end them. Raises `StartError`."""
    leave = threading.Event()
    started: list[threading.Thread] = []
    try:
        for number in range(NEEDED):
            thread = threading.Thread(target=leave.wait, name=f"nexusd-check-{number}", daemon=True)
            thread.start()
            started.append(thread)
    except (RuntimeError, MemoryError) as error:
        text = describe_shortage(error)
        if text is None:
            raise
        raise StartError(f"{text}; {NEEDED} threads are needed, {len(started)} could be started") from error
    finally:
        leave.set()
        for thread in started:
            thread.join()
