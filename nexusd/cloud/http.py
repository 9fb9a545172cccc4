"""One exchange with the API, and what every exchange shares: sessions, key, TLS. Used by `client`, `create`.

GETs share a pool of connections. A POST gets a new connection each time, so that a server which closed an
idle one cannot leave it in doubt whether anything was sent. Proxies and netrc of the environment are not
used, redirects are not followed, cookies are not kept.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path

import aiohttp
from yarl import URL

from nexusd.cloud.body import ACCEPT_ENCODING, read_body
from nexusd.cloud.faults import TRANSPORT_ERRORS
from nexusd.cloud.key import KeySource, redact
from nexusd.cloud.options import CloudOptions, check_base_url
from nexusd.cloud.refusals import ErrorAnswer
from nexusd.cloud.wire import MAX_CODE, MAX_TEXT, decode_error
from nexusd.core.errors import BadAnswerError, ConfigError, UnavailableError
from nexusd.core.text import one_line

_KEEP_ALIVE_S = 60.0
_KNOWN_STATUSES = frozenset(int(status) for status in HTTPStatus)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `body` decompressed. `retry_after` is the header as it was sent."""

    status: int
    body: bytes
    retry_after: str | None


class Http:
    """The sessions. They are made at first use, inside the loop; `close` ends them for good."""

    def __init__(self, options: CloudOptions, key: KeySource) -> None:
        self._options = options
        self._base = check_base_url(options.base_url)
        self._key = key
        self._last_key = ""
        self._tls: Tls | None = None
        if self._base.startswith("https:"):
            self._tls = Tls(options.ca_file)
        self._getting: aiohttp.ClientSession | None = None
        self._posting: aiohttp.ClientSession | None = None
        self.closed = False

    async def close(self) -> None:
        self.closed = True
        for session in (self._getting, self._posting):
            if session is not None:
                await session.close()

    def url(self, path: str) -> URL:
        return URL(self._base + path, encoded=True)

    def authorization(self) -> dict[str, str]:
        """The header with the key as it is now. Raises `UnauthorizedError` when there is none."""
        self._last_key = self._key.current()
        return {"Authorization": f"Bearer {self._last_key}"}

    def getting(self) -> aiohttp.ClientSession:
        if self._tls is not None:
            self._tls.refresh()
        if self._getting is None:
            self._getting = self._session(
                aiohttp.TCPConnector(
                    limit=self._options.max_concurrent_requests,
                    ssl=self._tls.context if self._tls is not None else True,
                    keepalive_timeout=_KEEP_ALIVE_S,
                )
            )
        return self._getting

    def posting(self) -> aiohttp.ClientSession:
        if self._tls is not None:
            self._tls.refresh()
        if self._posting is None:
            self._posting = self._session(
                aiohttp.TCPConnector(
                    limit=self._options.max_concurrent_requests,
                    ssl=self._tls.context if self._tls is not None else True,
                    force_close=True,
                )
            )
        return self._posting

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

    def _session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        if self.closed:
            raise UnavailableError("the client is closed", "connect")
        return aiohttp.ClientSession(
            connector=connector,
            headers={
                "User-Agent": self._options.user_agent,
                "Accept": "application/json",
                "Accept-Encoding": ACCEPT_ENCODING,
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            middlewares=(_never_repeat,),
        )


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
    return Answer(response.status, body, response.headers.get("Retry-After"))


class Tls:
    """Which certificates are trusted: the system's, or those of a CA file, read again when it changes.

    A certificate that leaves the file stays trusted until a restart. Raises `ConfigError` for a file that
    cannot be used.
    """

    def __init__(self, ca_file: Path | None) -> None:
        self._file = ca_file
        self._stamp: tuple[int, int] | None = None
        self.context = (
            ssl.create_default_context() if ca_file is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        )
        self.refresh()

    def refresh(self) -> None:
        """Look at the file. One that is away for a moment changes nothing."""
        if self._file is None:
            return
        try:
            status = self._file.stat()
            stamp = (status.st_ino, status.st_mtime_ns)
            if stamp != self._stamp:
                self.context.load_verify_locations(self._file)
                self._stamp = stamp
        except OSError as error:
            if self._stamp is None:
                why = error.strerror or "not a certificate"
                raise ConfigError(f"cloudnexus: cannot use the CA file {self._file}: {why}") from error


def status_label(status: int) -> str:
    """A status as a metrics label of a bounded set: itself when it is registered, else `4xx`."""
    return str(status) if status in _KNOWN_STATUSES else f"{status // 100}xx"
