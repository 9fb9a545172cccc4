"""The sockets that the web server takes connections from. Held by `app` while the address is the same.

They outlive the server that a reload replaces: who connects meanwhile waits a moment and is not refused. And
a reload to an address that cannot be had is known before anything has changed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterable
from typing import Any

from nexusd.core.errors import StartError

BACKLOG = 128
_EVERY_ADDRESS = ("", "::")
_NO_SUCH_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
"""What a machine without IPv6 says of half of "every address"."""


class Listening:
    """`address`: the host and port that were asked for."""

    def __init__(self, address: tuple[str, int], sockets: list[socket.socket]) -> None:
        self.address = address
        self._sockets = sockets

    def shared(self) -> list[socket.socket]:
        """The same sockets for one server, which closes its own."""
        return [each.dup() for each in self._sockets]

    def close(self) -> None:
        for each in self._sockets:
            each.close()


async def listen(host: str, port: int) -> Listening:
    """Listen on each address of the host. Raises `StartError`.

    Every address, of IPv4 and IPv6, is "" or "::", as in Prometheus and Alertmanager.
    """
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(
            host if host not in _EVERY_ADDRESS else None,
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
        return Listening((host, port), _bound(dict.fromkeys((info[0], info[4]) for info in infos)))
    except OSError as error:
        where = written(host, port)
        raise StartError(f"cannot listen on {where}: {_reason(error)}; set server.listen") from error


def written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bound(addresses: Iterable[tuple[int, Any]]) -> list[socket.socket]:
    """Bind all (family, address) pairs, port 0 to the same free port.

    Binds none of them and raises `OSError` if one fails.

    A family that this machine does not have is left out.
    """
    sockets: list[socket.socket] = []
    lacking: OSError | None = None
    try:
        for family, (host, port, *more) in addresses:
            chosen = sockets[0].getsockname()[1] if sockets else port
            address = (host, chosen, *more)
            try:
                sockets.append(socket.create_server(address, family=family, backlog=BACKLOG))
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise
                lacking = error
        if not sockets and lacking is not None:
            raise lacking
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno is None:
        return str(error.strerror or error).lower()
    return os.strerror(error.errno).lower()
