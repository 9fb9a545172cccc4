"""One HTTP request and its answer, on connections that are kept. Used by `http`.

A webhook that is told of ten thousand alerts gets ten thousand requests that differ in their body and two
headers. aiohttp's connector makes the connections and its parser reads the answers. What its session does
for each request besides (cookies, redirects, proxies, compression, middlewares, tracing) nobody here wants,
and it takes twice the time of all the rest.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from nexusd.delivery.addresses import AddressPolicy
from nexusd.status_line import tap

MAX_ANSWER_BYTES = 64 * 1024
MAX_HEADER_BYTES = 128 * 1024
"""Of one header of a response, or of its status line."""
MAX_HEADERS = 512
MAX_CONNECTION_AGE_S = 60.0
"""How long a connection is reused: the receiver's name may resolve to another address since."""
_WITHIN = aiohttp.ClientTimeout(total=None)
"""Who asks has one time-out for everything, the connecting included."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    retry_after: str | None = None
    date: str | None = None


class Exchange:
    """Requests to one URL, over connections to addresses that `policy` allows.

    Proxies and redirects are not followed.

    `target` is the request target that is sent; `url` gives the address, the `Host` header and TLS.
    """

    def __init__(self, url: URL, target: str, headers: CIMultiDict[str], policy: AddressPolicy) -> None:
        self._url = url
        self._target = target
        self._headers = headers
        self._policy = policy
        self._open: aiohttp.TCPConnector | None = None
        self._requests: dict[tuple[str, ssl.SSLContext | None], aiohttp.ClientRequest] = {}
        self._heads: dict[tuple[str, bool, tuple[str, ...]], bytes] = {}
        self._opened_at: WeakKeyDictionary[ResponseHandler, float] = WeakKeyDictionary()

    async def ask(
        self,
        method: str,
        body: bytes | None,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None,
        timeout_s: float,
    ) -> Answer:
        """Send a request and return its response.

        `headers`: those of this request alone, printable ASCII; they go before the operator's. `tls` None:
        Python's default.

        Raises `TimeoutError` when there is no answer in time, and what aiohttp and the system raise. The
        answer's body is read, so that the connection can be used again, but not endlessly, and whatever
        becomes of it: the status has said all that counts. A 2xx status line counts even when the headers
        after it cannot be parsed.
        """
        answer = received = None
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._connected(method, tls)
                reusable = False
                try:
                    handler, transport = connection.protocol, connection.transport
                    if handler is None or transport is None:
                        raise aiohttp.ServerDisconnectedError
                    handler.set_response_params(
                        auto_decompress=False,
                        read_until_eof=True,
                        max_line_size=MAX_HEADER_BYTES,
                        max_field_size=MAX_HEADER_BYTES,
                        max_headers=MAX_HEADERS,
                    )
                    received = tap(transport)
                    transport.write(self._head(method, body, headers) + (body or b""))
                    answer, content = await _answer(handler)
                    reusable = (
                        await _read_off(content)
                        and not transport.get_write_buffer_size()
                        and self._is_recent(handler)
                    )
                finally:
                    if reusable:
                        connection.release()
                    else:
                        connection.close()
        except (TimeoutError, aiohttp.ClientError, HttpProcessingError, OSError):
            status = received.status if received is not None else None
            if answer is None and status is not None and 200 <= status < 300:
                answer = Answer(status)
            if answer is None:
                raise
        return answer

    async def close(self) -> None:
        """Let connections go. A later request makes new ones."""
        if self._open is not None:
            connector, self._open = self._open, None
            self._requests.clear()
            await connector.close()

    async def _connected(self, method: str, tls: ssl.SSLContext | None) -> Connection:
        """The connector is made when it is first needed, because it belongs to the running event loop."""
        if self._open is None:
            self._open = aiohttp.TCPConnector(
                limit=0, socket_factory=self._policy.make_socket, use_dns_cache=False
            )
        request = self._requests.get((method, tls))
        if request is None:
            self._requests.clear()  # certificates that are shown or trusted no more
            request = aiohttp.ClientRequest(method, self._url, headers=self._headers, ssl=tls or True)
            self._requests[method, tls] = request
        connection = await self._open.connect(request, [], _WITHIN)
        if connection.protocol is not None:
            self._opened_at.setdefault(connection.protocol, asyncio.get_running_loop().time())
        return connection

    def _is_recent(self, handler: ResponseHandler) -> bool:
        """Return whether the connection may be used again."""
        now = asyncio.get_running_loop().time()
        return now - self._opened_at.get(handler, now) < MAX_CONNECTION_AGE_S

    def _head(self, method: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
        kind = (method, body is not None, tuple(headers))
        head = self._heads.get(kind)
        if head is None:
            head = self._heads[kind] = self._common_head(method, body, headers)
        own = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        length = f"Content-Length: {len(body)}\r\n" if body is not None else ""
        return head + f"{own}{length}\r\n".encode("ascii")

    def _common_head(self, method: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
        """What such requests have in common: aiohttp's own headers, and those of the operator."""
        common = CIMultiDict(self._headers)
        for name in ("Content-Length", "Transfer-Encoding", *headers):
            common.popall(name, None)
        if body is not None:
            common.setdefault("Content-Type", "application/json")
        complete = aiohttp.ClientRequest(method, self._url, headers=common)
        complete.headers.popall("Content-Length", None)
        lines = [f"{method} {self._target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in complete.headers.items()]
        if body is None and method not in complete.GET_METHODS:
            lines.append("Content-Length: 0")
        return "".join(f"{line}\r\n" for line in lines).encode()


async def _answer(handler: ResponseHandler) -> tuple[Answer, aiohttp.StreamReader]:
    """The first that is not merely informational."""
    while True:
        message, content = await handler.read()
        if not 100 <= message.code < 200 or message.code == 101:
            headers = message.headers
            return Answer(message.code, headers.get("Retry-After"), headers.get("Date")), content


async def _read_off(content: aiohttp.StreamReader) -> bool:
    """Whether the body came to its end within bounds."""
    left = MAX_ANSWER_BYTES
    while left > 0 and (chunk := await content.read(left)):
        left -= len(chunk)
    return left > 0
