"""HTTP exchanges with the API: sessions, key and TLS.

Used by `client` and `create`.

Each read (a poll of the regions, a listing of the instances) opens its own connections and closes them at its
end, and each POST opens one. No address is cached. So a listing that proves an instance absent comes from an
address that the host name had after the attempt, even when the API has moved and the old address still
responds. New connections also mean that a server which closed an idle one cannot make the outcome of a POST
unknown. Proxies and netrc of the environment are ignored, redirects are not followed, cookies are not kept.

A configured proxy tunnels TLS (CONNECT): it sees neither the key nor the requests, and a tunnel that it
refuses proves that nothing was sent.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path

import aiohttp
import structlog
from yarl import URL

from nexusd.cloud.body import ACCEPT_ENCODING, read_body
from nexusd.cloud.faults import TRANSPORT_ERRORS
from nexusd.cloud.key import KeySource, redact
from nexusd.cloud.options import CloudOptions, check_base_url
from nexusd.cloud.refusals import ErrorAnswer
from nexusd.cloud.wire import MAX_CODE, MAX_TEXT, decode_error
from nexusd.core.errors import BadAnswerError, ConfigError, UnavailableError
from nexusd.core.text import one_line
from nexusd.file_version import FileVersion, file_version

log = structlog.get_logger(__name__)

MAX_HEADER_BYTES = 128 * 1024
"""Of one header of a response, or of its status line."""
MAX_HEADERS = 512

_KNOWN_STATUSES = frozenset(int(status) for status in HTTPStatus)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response of the API.

    `body` is decompressed; `retry_after` and `date` are the headers as sent.
    """

    status: int
    body: bytes
    retry_after: str | None
    date: str | None


class Http:
    """The sessions of the API.

    They open inside the loop; `close` closes them permanently.
    """

    def __init__(self, options: CloudOptions, key: KeySource) -> None:
        self._options = options
        self._base = check_base_url(options.base_url)
        self._key = key
        self._last_key = ""
        self._tls: Tls | None = None
        if self._base.startswith("https:"):
            self._tls = Tls(options.ca_file)
        self._proxy, self.proxy_headers = _proxy(options.proxy if self._tls is not None else None)
        self._sessions: set[aiohttp.ClientSession] = set()
        self.closed = False

    async def close(self) -> None:
        self.closed = True
        for session in list(self._sessions):
            await session.close()

    def url(self, path: str) -> URL:
        return URL(self._base + path, encoded=True)

    def authorization(self) -> dict[str, str]:
        """The header with the key as it is now. Raises `UnauthorizedError` when there is none."""
        self._last_key = self._key.current()
        return {"Authorization": f"Bearer {self._last_key}"}

    @asynccontextmanager
    async def session(
        self, socket_factory: aiohttp.SocketFactoryType | None = None
    ) -> AsyncIterator[aiohttp.ClientSession]:
        """Open a session for one read or POST.

        All its connections are newer than its start.

        Raises `UnavailableError` after `close`.
        """
        session = self._open_session(socket_factory)
        self._sessions.add(session)
        try:
            yield session
        finally:
            self._sessions.discard(session)
            await session.close()

    def timeout(self, total_s: float) -> aiohttp.ClientTimeout:
        return _timeout(total_s, min(self._options.connect_timeout_s, total_s))

    def error_answer(self, answer: Answer, retry_after_s: float | None) -> ErrorAnswer:
        """What an error says, with the key taken out should the API have quoted it, and then cut."""
        said = decode_error(answer.body)

        def told(text: str, most: int) -> str:
            return one_line(redact(text, self._last_key), most)

        return ErrorAnswer(
            answer.status,
            told(said.code, MAX_CODE),
            told(said.message, MAX_TEXT),
            told(said.details, MAX_TEXT),
            retry_after_s,
        )

    def _open_session(self, socket_factory: aiohttp.SocketFactoryType | None) -> aiohttp.ClientSession:
        if self.closed:
            raise UnavailableError("the client is closed", "connect")
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._options.max_concurrent_requests,
                ssl=self._tls.context() if self._tls is not None else True,
                use_dns_cache=False,
                socket_factory=socket_factory,
            ),
            headers={
                "User-Agent": self._options.user_agent,
                "Accept": "application/json",
                "Accept-Encoding": ACCEPT_ENCODING,
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            proxy=self._proxy,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            middlewares=(_never_repeat,),
        )


def _proxy(text: str | None) -> tuple[URL | None, dict[str, str]]:
    """Return the proxy's URL without credentials, and the headers to send to it."""
    if text is None:
        return None, {}
    url = URL(text)
    if url.user is None:
        return url, {}
    pair = f"{url.user}:{url.password or ''}".encode()
    return url.with_user(None), {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}


@lru_cache(maxsize=8)
def _timeout(total_s: float, connect_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total_s, connect=connect_s, sock_connect=connect_s, ceil_threshold=1e9)


class ConnectionLostError(aiohttp.ClientError):
    """The connection ended before an answer came."""


async def _never_repeat(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a GET again by itself, past the rate limit and the circuit.

    It does so for lost connections, which it knows by their types.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        pass
    raise ConnectionLostError


async def read_answer(response: aiohttp.ClientResponse, max_bytes: int, request: str) -> Answer:
    """Status and body. A status that is no 2xx counts by itself, so its body may be unreadable."""
    try:
        body = await read_body(response, max_bytes, request)
    except (BadAnswerError, *TRANSPORT_ERRORS):
        if 200 <= response.status < 300:
            raise
        body = b""
    return Answer(response.status, body, response.headers.get("Retry-After"), response.headers.get("Date"))


class Tls:
    """Trusted certificates: the system's, or a CA file's.

    A CA file is read again when it changes.

    A file that goes away or cannot be used later changes nothing but a warning in the log. Raises
    `ConfigError` for one that cannot be used at the start.
    """

    def __init__(self, ca_file: Path | None) -> None:
        self._file = ca_file
        self._stamp: FileVersion | None = None
        self._context = ssl.create_default_context() if ca_file is None else _trusting(ca_file)
        if ca_file is not None:
            self._stamp = file_version(ca_file)

    def context(self) -> ssl.SSLContext:
        """Return the context for new connections."""
        if self._file is not None and (stamp := file_version(self._file)) != self._stamp:
            self._stamp = stamp
            try:
                self._context = _trusting(self._file)
            except ConfigError as error:
                log.warning("api_ca_file_reload_failed", error=f"{error}; the last good one stays in use")
        return self._context


def _trusting(ca_file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        unreadable = None if isinstance(error, ssl.SSLError) else (error.strerror or "").lower()
        why = unreadable or "it holds no certificate in PEM format"
        raise ConfigError(f"cloudnexus: cannot use the CA file {ca_file}: {why}") from error
    return context


def status_label(status: int) -> str:
    """A status as a metrics label of a bounded set: itself when it is registered, else `4xx`."""
    return str(status) if status in _KNOWN_STATUSES else f"{status // 100}xx"
