"""A TCP relay that can fall silent: connections stay open and carry nothing."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

CHUNK = 65_536


class Relay:
    """Forwards to a port of this machine. While `silent`, it drops what it reads, in both directions."""

    def __init__(self, target: int) -> None:
        self.silent = False
        self.port = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, inner_writer))
                group.create_task(self._forward(inner_reader, writer))
        except* ConnectionError:
            pass
        finally:
            writer.transport.abort()
            inner_writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Raises `ConnectionError` at the end, so that the other direction ends too."""
        while data := await reader.read(CHUNK):
            if not self.silent:
                writer.write(data)
                await writer.drain()
        raise ConnectionResetError
