"""`python -m nexusd.runtime.probe [URL]`: is the daemon on this machine healthy?

For a container's HEALTHCHECK. Exit code 0 when `/-/healthy` answers 200, else 1 with one line on stderr. The
address is the argument, else what the daemon listens on: `$NEXUSD_SERVER__LISTEN`, `$NEXUSD_SERVER`, the
configuration file's `server.listen`, the default. As for the daemon, variables after `NEXUSD_` have no case
and the file's keys do. It imports next to nothing, because it is started every few seconds.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DEFAULT_LISTEN = "127.0.0.1:9650"
DEFAULT_CONFIG = "/etc/nexusd/nexusd.yaml"
TIMEOUT_S = 3.0
MAX_DEPTH = 50  # deeper than the daemon accepts
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - read, not bound


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else health_url(os.environ)
    complaint = complaint_of(url)
    if complaint is not None:
        print(f"{url}: {complaint}", file=sys.stderr)  # noqa: T201 - what the engine shows
        raise SystemExit(1)


def health_url(environment: Mapping[str, str]) -> str:
    """Return the URL where a daemon with this environment serves its health."""
    given = {name.upper(): text for name, text in environment.items() if name.startswith("NEXUSD_") and text}
    in_file = _server_section(Path(given.get("NEXUSD_CONFIG", DEFAULT_CONFIG)))
    server = {**in_file, **_parsed_section(given.get("NEXUSD_SERVER", ""))}
    listen = given.get("NEXUSD_SERVER__LISTEN") or str(server.get("listen") or DEFAULT_LISTEN)
    tls = any(name.startswith("NEXUSD_SERVER__TLS") for name in given) or server.get("tls")
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    host = WILDCARDS.get(host, host)
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/-/healthy"


def complaint_of(url: str) -> str | None:
    """Return why the daemon is not healthy, or None."""
    parts = urlsplit(url)
    try:
        connection = _connection(parts.scheme, parts.hostname or "", parts.port)
        try:
            connection.request("GET", parts.path or "/-/healthy")
            answer = connection.getresponse()
            body = answer.read(4096)
        finally:
            connection.close()
    except TimeoutError:
        return f"no response within {TIMEOUT_S:g} s"
    except OSError as error:
        return (error.strerror or "connection failed").lower()
    except (http.client.HTTPException, ValueError):
        return "no valid HTTP response"
    if answer.status != http.HTTPStatus.OK:
        return f"{answer.status} {body.decode('utf-8', 'replace').strip()!r}"
    return None


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme != "https":
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    # It talks to itself over loopback, where the certificate's name cannot match.
    context = ssl._create_unverified_context()  # noqa: S323, SLF001
    return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)


def _server_section(config: Path) -> Mapping[str, object]:
    """Return `server` of the configuration file.

    It is empty if missing, or if the daemon refuses the file.
    """
    try:
        section = _parsed(config.read_bytes())["server"] if config.is_file() else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return section if isinstance(section, Mapping) else {}


def _parsed_section(text: str) -> Mapping[str, object]:
    """Return a section that a variable holds as YAML, empty if the daemon refuses it."""
    try:
        section = _parsed(text.encode()) if text else {}
    except ValueError:
        return {}
    return section if isinstance(section, Mapping) else {}


def _parsed(document: bytes) -> Any:
    """Parse YAML. Raises `ValueError`."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    try:
        for event in yaml.parse(document, loader):  # libyaml's loader would overflow the stack
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ValueError("nested too deeply")
        return yaml.load(document, loader)  # noqa: S506 - a safe one
    except yaml.YAMLError as error:
        raise ValueError("not YAML") from error


if __name__ == "__main__":
    main()
