"""The source of a request: `Host`, loopback addresses, traces of a reverse proxy.

Used by `auth`. Decisions depend on the contents of a request, so an absent trace proves nothing: operators
should set tokens (docs/reverse-proxy.md).
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from aiohttp import HttpVersion10, web

_MAX_CACHED = 64
"""Distinct hosts whose classification is cached: the same few come with every request."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?", re.ASCII)
"""`uri-host [":" port]` (RFC 9110, section 7.2), without the characters that no host name has."""

_PROXY_HEADERS = frozenset(
    {
        "forwarded",
        "via",
        "client-ip",
        "cluster-client-ip",
        "fastly-client-ip",
        "fly-client-ip",
        "forwarded-for",
        "remote-addr",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-forwarded",
        "x-host",
        "x-proxyuser-ip",
        "x-real-ip",
        "x-real-port",
        "x-remote-addr",
        "x-remote-ip",
        "x-rewrite-url",
        "x-scheme",
        "x-url-scheme",
    }
)
_PROXY_HEADER_PREFIXES = (
    "cf-",  # Cloudflare
    "cdn-",
    "x-amzn-",
    "x-appengine-",
    "x-arr-",  # IIS
    "x-azure-",
    "x-envoy-",
    "x-forwarded-",
    "x-original-",
    "x-proxy-",
)


_MAX_SHOWN = 40
"""Characters of a header name that a refusal repeats."""


def authority(request: web.Request) -> str:
    """Return the one `Host` of the request.

    It is "" if there is none, several, or the target has its own.

    A target in absolute form (RFC 9112, section 3.2.2) is sent to proxies only, and its authority may differ
    from `Host`.
    """
    hosts = request.headers.getall("Host", [])
    return hosts[0] if len(hosts) == 1 and request.raw_path.startswith(("/", "*")) else ""


@lru_cache(_MAX_CACHED)
def is_loopback_host(host: str) -> bool:
    """Return whether a `Host` header has a loopback address or `localhost`."""
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match[1].removeprefix("[").removesuffix("]"))


@lru_cache(_MAX_CACHED)
def is_loopback(host: str) -> bool:
    """Return whether an address or name is 127.0.0.0/8, ::1 or localhost."""
    if host.removesuffix(".").lower() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def proxy_trace(request: web.Request) -> str | None:
    """Return what shows that a proxy forwarded the request, or None.

    nginx without `proxy_set_header` adds no header and replaces `Host`, but speaks HTTP/1.0 (before version
    1.29.7), which no client in use does.
    """
    for name in request.headers:
        if name.lower() in _PROXY_HEADERS or name.lower().startswith(_PROXY_HEADER_PREFIXES):
            return name[:_MAX_SHOWN]
    return "HTTP/1.0" if request.version <= HttpVersion10 else None
