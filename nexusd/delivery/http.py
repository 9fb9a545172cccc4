"""One request to a receiver, and what its answer means. Used by every kind of receiver that is asked by HTTP.

The URL, its host included, is a secret: nothing here logs it or puts it into a `Delivery`.
"""

from __future__ import annotations

import base64
import errno
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from nexusd import __version__
from nexusd.core.errors import InputError
from nexusd.core.request_target import request_target, with_path
from nexusd.core.retry_after import retry_after_s
from nexusd.delivery.addresses import AddressPolicy
from nexusd.delivery.exchange import Answer, Exchange
from nexusd.delivery.tls import ClientTls, TlsFiles
from nexusd.ports import Clock, Delivery

RETRIED = frozenset({408, 425, 429})
GONE = 410
OK = 200
DELIVERED = Delivery("delivered", str(OK))
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """`url` names the address (see `AddressPolicy`). `authorization` is the header's whole value. `networks`:
    private networks, in CIDR notation, that the URL's name may lead to. `tls` None: the system's
    certificate authorities, and no certificate of our own.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    authorization: str | None = field(default=None, repr=False)
    timeout_s: float = 10.0
    networks: tuple[str, ...] = ()
    tls: TlsFiles | None = None


class HttpTarget:
    """Target of the requests of one receiver.

    `path` is appended to the URL's own, in place of its query.

    Raises `InputError` or `ConfigError` for options that can never work.
    """

    def __init__(self, name: str, options: HttpOptions, clock: Clock, path: str = "") -> None:
        self._clock = clock
        url, headers = _address(options)
        target = request_target(options.url)
        target = with_path(target, path) if path else target
        self._exchange = Exchange(url, target, headers, AddressPolicy(url.host or "", options.networks))
        self._tls = ClientTls(options.tls, name) if options.tls is not None else None
        self._timeout_s = options.timeout_s

    def utc(self) -> float:
        """The time to be shown to the receiver."""
        return self._clock.now() + self._clock.utc_offset_s()

    async def request(
        self, method: str, body: bytes | None, headers: Mapping[str, str] = NO_HEADERS
    ) -> Delivery:
        """One request, the body (JSON) as it is; never raises but for cancellation. `headers` go before those
        that the operator set.
        """
        tls = self._tls.context() if self._tls is not None else None
        try:
            answer = await self._exchange.ask(method, body, headers, tls, self._timeout_s)
        except TimeoutError:
            return Delivery("retry", "timeout", f"no answer within {self._timeout_s:g}s")
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            return _not_answered(error)
        if answer.status == OK and answer.retry_after is None:
            return DELIVERED
        return judge(answer, self.utc())

    async def close(self) -> None:
        """Let connections go. A later request makes new ones."""
        await self._exchange.close()


def judge(answer: Answer, utc: float) -> Delivery:
    """Apply the retry table.

    2xx is delivered; 408, 425, 429 and 5xx are retried; any other is not.

    `utc`: the wall clock, for a `Retry-After` date in a response without a `Date`.
    """
    status = answer.status
    code = str(status)
    if 200 <= status < 300:
        return Delivery("delivered", code)
    if status in RETRIED or status >= 500:
        wait_s = retry_after_s(answer.retry_after, answer.date, utc)
        return Delivery("retry", code, "the receiver asked to try again", wait_s)
    if status == GONE:
        return Delivery("gone", code, "the receiver says that it is gone for good")
    reason = "redirects are not followed" if 300 <= status < 400 else "the receiver refuses the message"
    return Delivery("rejected", code, reason)


def _address(options: HttpOptions) -> tuple[URL, CIMultiDict[str]]:
    """Return the URL without user and password, and the headers of every request."""
    try:
        url = URL(options.url)
    except ValueError:
        raise InputError("the URL cannot be read", "url") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InputError("the URL is not an http or https URL with a host", "url")
    headers = CIMultiDict({"User-Agent": f"nexusd/{__version__}"})
    headers.update(options.headers)
    if url.user is not None:
        pair = f"{url.user}:{url.password or ''}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
    if options.authorization is not None:
        headers["Authorization"] = options.authorization
    if any(char in part for pair in headers.items() for part in pair for char in "\r\n\0"):
        raise InputError("a header has a line break in it", "headers")
    return url.with_user(None), headers


def _not_answered(error: Exception) -> Delivery:
    """What happened, without a word of the library's, which names the host."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    match error:
        case aiohttp.ClientConnectorDNSError():
            code, detail = "dns", "the name does not resolve"
        case aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch() | ssl.SSLError():
            code, detail = "tls", "no TLS connection: certificate, host name or protocol"
        case aiohttp.ClientConnectorError() if getattr(cause, "errno", None) == errno.EACCES:
            code, detail = "address", "the name resolves to an address that no receiver may be at"
        case aiohttp.ClientConnectorError():
            code, detail = "connect", "no connection"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | OSError():
            code, detail = "reset", "the connection was lost"
        case _:
            code, detail = "invalid", "the answer is not HTTP"
    return Delivery("retry", code, detail)
