"""A webhook's far end in a process of its own, as light as it can be: when did which alert arrive first?"""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

WITHIN_S = 300.0
"""For all alerts to arrive, the start of who sends them included."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ALERT = re.compile(rb'"instance_id":"([^"]+)"')
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_HEAD_END = b"\r\n\r\n"


class _Arrivals:
    """When each alert came first; `all_here` once there are as many as are waited for."""

    def __init__(self, count: int) -> None:
        self.first: dict[str, float] = {}
        self.all_here = asyncio.Event()
        self._count = count

    def add(self, alert: str) -> None:
        self.first.setdefault(alert, time.monotonic())
        if len(self.first) == self._count:
            self.all_here.set()


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with a `Content-Length`; answers 200 to whatever it is sent."""

    def __init__(self, arrivals: _Arrivals) -> None:
        self._arrivals = arrivals
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("not a stream")
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (ends := self._ends_at()) is not None:
            alert = _ALERT.search(self._unread, 0, ends)
            if alert is not None:
                self._arrivals.add(alert[1].decode())
            self._unread = self._unread[ends:]
            self._transport.write(_ANSWER)

    def _ends_at(self) -> int | None:
        """Where the first request ends, None while it is not all here."""
        head = self._unread.find(_HEAD_END)
        length = _LENGTH.search(self._unread, 0, head) if head >= 0 else None
        if length is None:
            return None
        ends = head + len(_HEAD_END) + int(length[1])
        return ends if ends <= len(self._unread) else None


def _receive(pipe: Connection, count: int) -> None:
    async def receive() -> None:
        arrivals = _Arrivals(count)
        server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(arrivals), "127.0.0.1", 0, backlog=4096
        )
        pipe.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook")
        async with asyncio.timeout(WITHIN_S):
            await arrivals.all_here.wait()
        pipe.send(arrivals.first)
        await asyncio.to_thread(pipe.recv)

    asyncio.run(receive())


class Receiver:
    """`arrivals` waits for all alerts and says when (`time.monotonic`) each of them came first."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.url: str = pipe.recv()

    def arrivals(self) -> dict[str, float]:
        arrived: dict[str, float] = self._pipe.recv()
        return arrived


@contextmanager
def receiver(count: int) -> Iterator[Receiver]:
    """One that waits for that many alerts."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_receive, args=(theirs, count), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Receiver(ours)
        ours.send("end")
        process.join()
    finally:
        process.kill()
