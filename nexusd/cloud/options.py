"""What the client may be told, and which base URLs it accepts. `app` builds it from the settings."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from yarl import URL

from nexusd import __version__
from nexusd.cloud.refusals import RefusalRule
from nexusd.core.errors import ConfigError
from nexusd.core.request_target import request_target


@dataclass(frozen=True, slots=True)
class CloudOptions:
    """Plain values of the `cloudnexus` section; durations in seconds, sizes in bytes.

    `timeout_s` bounds one request from its first step to the last byte of its answer. `get_budget_s` bounds
    a GET with all its retries and waits, `sweep_timeout_s` a whole sweep. `max_body_bytes` holds for a body
    as received and again after decompression. `circuit_failures` in a row open the circuit; the wait between
    two probes grows from `circuit_first_wait_s` to `circuit_longest_wait_s`. Probes are polls, which come
    every 15 s by default, so a longest wait of 15 s keeps probes at most 30 s apart. `proxy`: an HTTP proxy
    that requests are tunnelled through, its URL with user and password if it needs them; not used for plain
    http, which is for loopback only.
    """

    base_url: str
    timeout_s: float = 10.0
    connect_timeout_s: float = 5.0
    max_concurrent_requests: int = 8
    max_requests_per_second: float = 50.0
    max_body_bytes: int = 4 * 1024 * 1024
    max_instances: int = 2_000_000
    get_tries: int = 4
    get_budget_s: float = 30.0
    backoff_first_s: float = 0.5
    backoff_longest_s: float = 8.0
    circuit_failures: int = 5
    circuit_first_wait_s: float = 1.0
    circuit_longest_wait_s: float = 15.0
    sweep_timeout_s: float = 600.0
    user_agent: str = f"nexusd/{__version__}"
    proxy: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    refusals: tuple[RefusalRule, ...] = field(default=())

    def __post_init__(self) -> None:
        check_base_url(self.base_url)


def check_base_url(text: str) -> str:
    """The base URL without its trailing slash. Raises `ConfigError` for one that may not be used.

    HTTPS only; plain http is accepted for loopback alone, because the key travels in a header.
    """
    try:
        url = URL(text)
    except ValueError as error:
        raise ConfigError(f"cloudnexus.base_url: not a URL ({error})") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("cloudnexus.base_url: must be an https:// URL with a host")
    if url.user is not None or url.password is not None:
        raise ConfigError("cloudnexus.base_url: must not contain a user name or password")
    if url.query_string or url.fragment:
        raise ConfigError("cloudnexus.base_url: must not contain a query or a fragment")
    if url.scheme == "http" and not _is_loopback(url.host):
        raise ConfigError(
            f"cloudnexus.base_url: plain http is only allowed to loopback, use https://{url.host}"
        )
    return str(url.origin()) + request_target(text).partition("?")[0].rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
