"""Authentication and authorization.

See docs/http-api.md, "Authentication and authorization".

Requests are of two classes: those that read, and unsafe ones (POST, DELETE) that change something. Each class
has a token; the write token may also read. Without its token

- unsafe methods work only from this machine, with a loopback `Host`, without a trace of a proxy (`hosts`),
  while `server.external_url` names no other host, and never on behalf of another site;
- reading, while nexusd listens on loopback only, needs a loopback `Host` or that of `server.external_url`.

A browser cannot send a bearer token by itself, but asks its user for a password. For reading, the token may
therefore be the password of `Basic`, under any user name. Browsers also send that password with requests that
another site triggers, so it authorizes reading only; the other site cannot see the response.

So a web page of another site can neither command nor, by DNS rebinding, read. `bodies` requires JSON, which a
form cannot send.
"""

from __future__ import annotations

import binascii
import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from nexusd.web.answers import Handler, RequestError
from nexusd.web.hosts import authority, is_loopback, is_loopback_host, proxy_trace

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN_PATH = "/-/healthy"
_READING_PATH = "/api/v1/plan"
"""A POST that changes nothing, and needs what reading needs."""

_PAGE_PATH = "/"
"""Where a browser is told that it may ask for a password."""

_FORM_TYPES = frozenset({"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})
"""What a page of another site can make a browser send unasked (Fetch standard: CORS-safelisted)."""


class Guard:
    """`loopback_only` says whether every address listened on is a loopback one; asked at each request,
    because it is known once the sockets are bound.
    """

    def __init__(
        self,
        read_token: str | None,
        write_token: str | None,
        external_url: str | None,
        loopback_only: Callable[[], bool],
    ) -> None:
        self._write_tokens = [write_token] if write_token else []
        self._read_tokens = [token for token in (read_token, write_token) if token] if read_token else []
        self._external_host = (urlsplit(external_url).netloc if external_url else "").lower()
        self._loopback_only = loopback_only

    def middleware(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._check(request)
            return await handler(request)

        return guard

    def _check(self, request: web.Request) -> None:
        """Raises `RequestError` 401, 403 or 415 unless the request may go on."""
        reading = request.method in SAFE_METHODS or request.path == _READING_PATH
        if request.path == _OPEN_PATH and request.method in SAFE_METHODS:
            return
        tokens = self._read_tokens if reading else self._write_tokens
        if tokens:
            self._check_token(request, tokens)
        elif request.match_info.http_exception is not None:
            return  # 404 or 405: nothing is read or done
        elif reading:
            self._check_reader(request)
        else:
            self._check_local_command(request)

    def _check_token(self, request: web.Request, tokens: list[str]) -> None:
        given = _bearer(request)
        if given is None and request.method in SAFE_METHODS:
            given = _password(request)
        if given is None:
            message = "an Authorization header with a Bearer token is needed"
            raise _unauthorized(message, 'realm="nexusd"', request)
        if _matches(given, tokens):
            return
        if _matches(given, self._read_tokens):
            raise RequestError(403, "FORBIDDEN", "the read token may only read; the write token is needed")
        raise _unauthorized("the token is not right", 'realm="nexusd", error="invalid_token"', request)

    def _check_reader(self, request: web.Request) -> None:
        if self._loopback_only() and "Host" in request.headers and not self._own_host(request):
            raise RequestError(
                403,
                "FORBIDDEN",
                "the Host header is not of this machine; set server.external_url or server.read_token",
            )

    def _check_local_command(self, request: web.Request) -> None:
        """Check that a program on this machine sent the request directly.

        Raises `RequestError` 403 or 415 if not.
        """
        refusal = self._why_not_local(request)
        if refusal is not None:
            raise RequestError(403, "FORBIDDEN", f"without server.write_token {refusal}")
        if "Content-Type" in request.headers and request.content_type in _FORM_TYPES:
            raise RequestError(
                415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type: application/json is expected, not a form's"
            )

    def _why_not_local(self, request: web.Request) -> str | None:
        if not is_loopback(request.remote or ""):
            return "this works only from the machine nexusd runs on"
        if self._external_host and not is_loopback_host(self._external_host):
            return "this does not work while server.external_url is set: set server.write_token"
        host = authority(request)
        if not is_loopback_host(host):
            return "this works only with a loopback Host header"
        trace = proxy_trace(request)
        if trace is not None:
            return f"this does not work through a proxy ({trace}): set server.write_token"
        if _cross_site(request, host):
            return "another site cannot request this"
        return None

    def _own_host(self, request: web.Request) -> bool:
        host = authority(request)
        return is_loopback_host(host) or (host != "" and host.lower() == self._external_host)


def _unauthorized(message: str, challenge: str, request: web.Request) -> RequestError:
    """The page challenges for a password alone: browsers look at the first scheme of a header only."""
    challenge = f"Bearer {challenge}"
    if request.path == _PAGE_PATH and _bearer(request) is None:
        challenge = 'Basic realm="nexusd", charset="UTF-8"'
    return RequestError(401, "UNAUTHORIZED", message, headers={"WWW-Authenticate": challenge})


def _bearer(request: web.Request) -> str | None:
    return _credentials(request, "bearer")


def _password(request: web.Request) -> str | None:
    """That of `Basic` (RFC 7617), whatever the name; None when there is none or it cannot be read."""
    try:
        given = binascii.a2b_base64(_credentials(request, "basic") or "", strict_mode=True)
    except ValueError:
        return None
    _, _, password = given.decode("utf-8", "surrogateescape").partition(":")
    return password or None


def _credentials(request: web.Request, wanted: str) -> str | None:
    """What the one `Authorization` header has for the scheme."""
    headers = request.headers.getall("Authorization", [])
    scheme, _, given = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    return given.strip() if scheme.lower() == wanted and given.strip() else None


def _matches(given: str, tokens: list[str]) -> bool:
    """In constant time; every token is compared, so that timing does not tell which one it was."""
    presented = given.encode("utf-8", "surrogateescape")
    return any([hmac.compare_digest(presented, token.encode()) for token in tokens])  # noqa: C419 - compares all


def _cross_site(request: web.Request, host: str) -> bool:
    """Whether a browser says that a page of another origin is behind the request."""
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    return site not in ("none", "same-origin") or (
        origin is not None and _origin_host(origin) != host.lower()
    )


def _origin_host(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
