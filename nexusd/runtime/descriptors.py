"""File descriptors: the process's limit, and the share of inbound connections.

Used by `engine`.

Everything needs descriptors: polls, webhooks, the store, and the clients of the web server. Only the clients
are not ours to bound, so they get what the rest does not need.
"""

from __future__ import annotations

import resource
from contextlib import suppress

from nexusd.core.errors import StartError

MAX_CONNECTIONS = 4_096
"""Inbound connections, however many descriptors there are: each costs memory, too."""
RESERVED = 256
"""Descriptors for polls, receivers, the store, listening sockets and logs; half of a limit below 512."""
MIN_DESCRIPTORS = 64
"""Fewest descriptors to start with."""


def raise_limit() -> None:
    """Raise the soft limit to the hard one.

    Shells and systemd start programs with 1,024.

    Raises `StartError` for a limit too low to run with: the event loop would abort the process.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < MIN_DESCRIPTORS:
        raise StartError(
            f"at most {soft} files may be open, and nexusd needs {MIN_DESCRIPTORS}: raise the limit "
            "(LimitNOFILE=, ulimit -n)"
        )


def max_connections() -> int:
    """Return how many inbound connections fit below the present limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, soft - min(RESERVED, soft // 2)))
