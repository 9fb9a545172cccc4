"""The status line of a response, however the network splits it."""

from __future__ import annotations

import asyncio

import pytest

from nexusd.status_line import StatusTap


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"HTTP/1.1 201 Created\r\n", 201),
        (b"HTTP/1.1 20", None),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", 200),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 50", None),
        (b"HTTP/1.1 100 Continue\r\nX: " + b"y" * 100_000 + b"\r\n\r\nHTTP/1.1 200 OK\r\n", 100),
        (b"HTTP/1.1 404 No\r\n\r\nHTTP/1.1 200 OK\r\n", 404),
        (b"garbage, garbage, HTTP/1.1 200 OK\r\n", None),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_the_status_of_the_final_response_is_read(data: bytes, status: int | None, size: int) -> None:
    tap = StatusTap(asyncio.Protocol())
    for start in range(0, len(data), size):
        tap.data_received(data[start : start + size])
    assert tap.status == status
