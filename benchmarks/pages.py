"""A page server in a process of its own: prebuilt bytes, so that the reader is what is measured.

It answers `GET /instances` and `/regions` as CloudNexus does, and a listing of servers as Scaleway does, with
records of about the same size, for the peer. `python -m benchmarks.pages COUNT` prints its port.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qsl, urlsplit

import uvloop

REGIONS = ("us-east-1", "us-west-2", "eu-west-2", "eu-central-1", "ap-south-1", "sa-east-1")
SHARE = 100
"""One instance of so many changes when the fleet is told to."""


def _record(number: int, status: str) -> bytes:
    return json.dumps(
        {
            "id": f"inst_{number:08x}",
            "name": f"worker-{number:07}",
            "status": status,
            "region": REGIONS[number % len(REGIONS)],
            "public_ip": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            "specs": {"cpu": 2 << number % 3, "ram_gb": 8 << number % 3, "disk_gb": 200},
            "created_at": "2024-05-01T12:00:00Z",
        },
        separators=(",", ":"),
    ).encode()


def _server(number: int) -> bytes:
    """Scaleway's, with what Prometheus reads of it and no more."""
    return json.dumps(
        {
            "id": f"{number:08x}-0000-4000-8000-000000000000",
            "name": f"worker-{number:07}",
            "state": "running",
            "commercial_type": "PRO",
            "private_ip": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            "hostname": f"worker-{number:07}",
            "zone": "fr-par-1",
            "creation_date": "2024-05-01T12:00:00Z",
        },
        separators=(",", ":"),
    ).encode()


class Pages:
    """What is listed, and the answers that were asked for before, ready to send."""

    def __init__(self, count: int, *, capacity: bool = True) -> None:
        self.count = count
        self.delay_s = 0.0
        self.turn = 0
        self._records = [_record(number, "running") for number in range(count)]
        self._stopped: list[int] = []
        self._answers: dict[tuple[str, int, int], bytes] = {}
        rows = [
            {"slug": slug, "name": slug, "status": "healthy", "avg_latency_ms": 20, "capacity": capacity}
            for slug in REGIONS
        ]
        self._regions = _answer(json.dumps({"regions": rows}).encode())

    def change(self) -> None:
        """One in a hundred, spread evenly: half of them stop, and those that stopped the last time run again.
        The first time only the first half.
        """
        self.turn += 1
        for number in self._stopped:
            self._records[number] = _record(number, "running")
        half = 2 * SHARE
        first = self.turn * 37 % SHARE + (SHARE if self.turn % 2 else 0)
        self._stopped = list(range(first, self.count, half))
        for number in self._stopped:
            self._records[number] = _record(number, "stopped")
        asked = [key for key in self._answers if key[0] == "/instances"]
        self._answers.clear()
        for key in asked:
            self.answer(*key)

    def answer(self, path: str, limit: int, offset: int) -> bytes:
        if path == "/regions":
            return self._regions
        key = path, limit, offset
        found = self._answers.get(key)
        if found is None:
            found = self._answers[key] = self._made(path, limit, offset)
        return found

    def _made(self, path: str, limit: int, offset: int) -> bytes:
        if path == "/instances":
            rows = b",".join(self._records[offset : offset + limit])
            meta = b'"meta":{"total":%d,"limit":%d,"offset":%d}' % (self.count, limit, offset)
            return _answer(b'{"data":[' + rows + b"]," + meta + b"}")
        rows = b",".join(_server(number) for number in range(offset, min(self.count, offset + limit)))
        return _answer(b'{"servers":[' + rows + b"]}", b"X-Total-Count: %d\r\n" % self.count)


def _answer(body: bytes, headers: bytes = b"") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n"
    return head % (headers, len(body)) + body


class _Connection(asyncio.Protocol):
    """One request at a time, as every client here sends them."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are of no asyncio class

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(b"\r\n\r\n"):
            return
        target = self._received.split(b" ", 2)[1].decode()
        self._received = b""
        answer = self._answer(target)
        if self._pages.delay_s:
            asyncio.get_running_loop().call_later(self._pages.delay_s, self._transport.write, answer)
        else:
            self._transport.write(answer)

    def _answer(self, target: str) -> bytes:
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        if parts.path == "/change":
            self._pages.change()
            return _answer(b"{}")
        if parts.path == "/delay":
            self._pages.delay_s = float(query["s"])
            return _answer(b"{}")
        if "page" in query or "per_page" in query:
            size = int(query.get("per_page", 50))
            return self._pages.answer("servers", size, size * (int(query.get("page", 1)) - 1))
        return self._pages.answer(parts.path, int(query.get("limit", 20)), int(query.get("offset", 0)))


@dataclass(frozen=True, slots=True)
class PageServer:
    url: str

    def change(self) -> None:
        """Let one in a hundred be another than it was."""
        urllib.request.urlopen(f"{self.url}/change").read()

    def delay(self, seconds: float) -> None:
        """Answer only after so long."""
        urllib.request.urlopen(f"{self.url}/delay?s={seconds}").read()


@contextmanager
def page_server(count: int, *, capacity: bool = True) -> Iterator[PageServer]:
    """`capacity`: of the regions; where there is none, placements wait."""
    command = [sys.executable, "-m", "benchmarks.pages", str(count), str(int(capacity))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield PageServer(f"http://127.0.0.1:{process.stdout.readline().strip()}")
    finally:
        process.kill()
        process.wait()


async def _serve(count: int, *, capacity: bool) -> None:
    pages = Pages(count, capacity=capacity)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(pages), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), capacity=sys.argv[2:] != ["0"]))
