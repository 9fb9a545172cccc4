"""A small HTTP/1.1 server that misbehaves as it is told, byte by byte. It runs in the test's own loop."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, urlsplit

from nexusd.cloud.client import CloudNexus
from nexusd.cloud.key import KeySource, LiteralKey
from nexusd.cloud.options import CloudOptions
from tests.fakes import RecordingMetrics
from tests.virtual_time import VirtualClock

KEY = "cn_live_0123456789abcdef"


@dataclass(frozen=True)
class Request:
    """One request as it came. `at`: loop time; `connection`: which connection, from 0."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    at: float
    connection: int


@dataclass(frozen=True)
class Reply:
    """`cut`: send only so many bytes of the body, then close. `drop`: send nothing and close.

    `raw`: send this instead of everything else. `after_s`: wait first. `drip_s`: wait that long between
    bytes of the body. `close`: close the connection afterwards. `endless`: go on sending after `raw`.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    drop: bool = False
    raw: bytes | None = None
    after_s: float = 0.0
    drip_s: float = 0.0
    close: bool = False
    endless: bool = False


def reply(payload: object, status: int = 200, **headers: str) -> Reply:
    """JSON. Underscores in header names stand for hyphens."""
    return Reply(status, json.dumps(payload).encode(), {k.replace("_", "-"): v for k, v in headers.items()})


def error(status: int, code: str, message: str = "no", **headers: str) -> Reply:
    """An ErrorResponse."""
    return reply({"error": {"code": code, "message": message, "details": None}}, status, **headers)


Respond = Callable[[Request], Reply]


class Server:
    """`received`: every byte that came on each connection. `requests`: what was understood of them."""

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self.requests: list[Request] = []
        self.received: list[bytearray] = []
        self.base_url = ""
        self.most_at_once = 0
        self._at_once = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        """The number of open connections."""
        return len(self._tasks)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number = len(self.received)
        self.received.append(bytearray())
        try:
            while await self._one(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        request = await self._read(reader, number)
        self.requests.append(request)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._answer(self.respond(request), writer)
        finally:
            self._at_once -= 1

    async def _read(self, reader: asyncio.StreamReader, number: int) -> Request:
        head = await reader.readuntil(b"\r\n\r\n")
        self.received[number] += head
        line, *rest = head.decode().split("\r\n")
        method, target, _ = line.split(" ")
        headers = dict(h.split(": ", 1) for h in rest if h)
        body = await reader.readexactly(int(headers.get("Content-Length", "0")))
        self.received[number] += body
        parts = urlsplit(target)
        at = asyncio.get_running_loop().time()
        return Request(method, parts.path, dict(parse_qsl(parts.query)), headers, body, at, number)

    async def _answer(self, reply: Reply, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(reply.after_s)
        if reply.drop:
            return False
        if reply.raw is not None:
            writer.write(reply.raw)
            await writer.drain()
            while reply.endless:
                writer.write(bytes(65_536))
                await writer.drain()
            return not reply.close
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(reply.body)),
            **reply.headers,
        }
        lines = [f"HTTP/1.1 {reply.status} X", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        body = reply.body if reply.cut is None else reply.body[: reply.cut]
        if reply.drip_s:
            for byte in body:
                writer.write(bytes([byte]))
                await asyncio.sleep(reply.drip_s)
        else:
            writer.write(body)
        await writer.drain()
        return reply.cut is None and not reply.close

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def serving(respond: Respond, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server on a free port of loopback."""
    server = Server(respond)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    server.base_url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1"
    try:
        yield server
    finally:
        listening.close()
        await server.stop()


@dataclass
class Cloud:
    """The client under test and what it was given."""

    api: CloudNexus
    server: Server
    metrics: RecordingMetrics
    clock: VirtualClock


@asynccontextmanager
async def cloud(
    respond: Respond, key: KeySource | None = None, tls: ssl.SSLContext | None = None, **options: object
) -> AsyncIterator[Cloud]:
    """A client of a server that answers by `respond`. `options` replace those of `CloudOptions`."""
    async with serving(respond, tls) as server:
        chosen = replace(CloudOptions(server.base_url), **options)  # type: ignore[arg-type]
        metrics, clock = RecordingMetrics(), VirtualClock()
        async with CloudNexus(chosen, key or LiteralKey(KEY), clock, random.Random(1), metrics) as api:
            yield Cloud(api, server, metrics, clock)


def listing(records: list[dict[str, object]], cap: int = 100) -> Respond:
    """`GET /instances` of a list that keeps still, at most `cap` a page."""

    def respond(request: Request) -> Reply:
        offset = int(request.query["offset"])
        limit = min(cap, int(request.query["limit"]))
        meta = {"total": len(records), "limit": limit, "offset": offset}
        return reply({"data": records[offset : offset + limit], "meta": meta})

    return respond


def record(number: int, **changes: object) -> dict[str, object]:
    """One instance as the reference's example has it."""
    return {
        "id": f"inst_{number:06d}",
        "name": f"worker-{number}",
        "status": "running",
        "region": "us-east-1",
        "specs": {"cpu": 4, "ram_gb": 16, "disk_gb": 200},
        **changes,
    }


def chain_text(error: BaseException) -> str:
    """Everything an error and those behind it say or show, as a careless logger would write it."""
    seen: list[str] = []
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None:
            seen += [str(one), repr(one), repr(vars(one))]
            todo += [one.__cause__, one.__context__]
    return "\n".join(seen)
