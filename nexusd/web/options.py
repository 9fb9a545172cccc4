"""What the web server is told by the settings: plain values, durations in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nexusd.core.notifications import Routing

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """`server.tls`. `client_ca_file` set: only clients with a certificate of that authority are let in."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class WebOptions:
    """Access, content and limits of the web server.

    `public_url`: the address in links of alerts, which is `external_url` where that is set. `per_instance`,
    `max_instances`: the per-instance series of `/metrics`. `alert_rules`: (name, severity) of every enabled
    rule, so that their series exist before the first alert. `receivers`: the same for the outbox. `routing`:
    which receivers get which alerts.
    """

    version: str
    read_token: str | None = field(default=None, repr=False)
    write_token: str | None = field(default=None, repr=False)
    tls: TlsFiles | None = None
    external_url: str | None = None
    public_url: str = ""
    per_instance: bool = False
    max_instances: int = 10_000
    receivers: tuple[str, ...] = ()
    alert_rules: tuple[tuple[str, str], ...] = ()
    routing: Routing = field(default_factory=lambda: Routing({}))
    body_limit_bytes: int = MEBIBYTE
    body_timeout_s: float = 30.0
    store_timeout_s: float = 5.0
    shutdown_timeout_s: float = 5.0
    max_connections: int = 4_096
