"""What went wrong on the way, as an `ApiError` whose text is one line without headers.

aiohttp's own errors are not chained: some carry the request's headers, the key among them.
"""

from __future__ import annotations

import os
import ssl
import zlib

import aiohttp

from nexusd.core.errors import ApiError, BadAnswerError, UnavailableError

TRANSPORT_ERRORS = (
    aiohttp.ClientError,
    OSError,
    TimeoutError,
    EOFError,
    ValueError,
    RuntimeError,
    zlib.error,
)
"""What a request and reading its answer may raise, besides `ApiError`; `ssl.SSLError` is an OSError."""


def explain(error: BaseException, request: str) -> ApiError:
    """The error for `request` (`GET /regions`) that aiohttp or the socket layer ended with."""
    reason, text = _reason(error)
    if reason == "invalid":
        return BadAnswerError(f"{request}: {text}")
    return UnavailableError(f"{request}: {text}", reason)


def _reason(error: BaseException) -> tuple[str, str]:
    if isinstance(error, aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError):
        return "connect", _proxy_reason(error)
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "dns", "the host name cannot be resolved"
        case aiohttp.ClientConnectorCertificateError():
            return "tls", f"the server's certificate is not accepted ({_verdict(error.certificate_error)})"
        case aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch() | ssl.SSLError():
            return "tls", f"TLS failed ({_verdict(getattr(error, 'os_error', error))})"
        case aiohttp.ConnectionTimeoutError():
            return "timeout", "no connection in time"
        case TimeoutError():
            return "timeout", "no complete answer in time"
        case aiohttp.ClientConnectorError():
            return "connect", f"cannot connect ({_connect_reason(error.os_error)})"
        case aiohttp.ClientPayloadError():
            return "invalid", "the answer ended early or is garbled"
        case aiohttp.ClientResponseError():
            return "invalid", "the response is not HTTP, or its headers are malformed or too large"
        case zlib.error() | EOFError():
            return "invalid", "the answer cannot be decompressed"
        case ValueError() | RuntimeError():
            return "invalid", f"the exchange failed ({type(error).__name__})"
        case _:
            return "reset", "the connection was lost"


def _proxy_reason(error: aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError) -> str:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy refuses the connection ({error.status})"
    return f"cannot connect to the proxy ({_connect_reason(error.os_error)})"


def _connect_reason(error: OSError) -> str:
    """Return the system's text for the error.

    asyncio's own text has the address as Python prints it.
    """
    return os.strerror(error.errno).lower() if error.errno else "connection failed"


def _verdict(error: object) -> str:
    return str(getattr(error, "verify_message", "") or getattr(error, "reason", "") or "handshake failed")
