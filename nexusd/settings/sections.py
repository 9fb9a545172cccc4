"""The sections of the configuration but alerting's: what each key is called, takes and defaults to.

An attribute is its key, with `_s` appended where it is a duration (seconds once read).
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from nexusd.core.answers import Kind, Scope
from nexusd.core.placement import DEFAULT_IMAGE
from nexusd.settings.values import (
    Number,
    Seconds,
    SecretText,
    SecretUrl,
    StoreUrl,
    Whole,
    WholeOrNone,
    check_http_url,
    custom,
    is_host,
    is_loopback,
    refused,
    split_address,
    store_url,
)

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
Slug = ShortText
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]


class Section(BaseModel):
    """What every section shares: unknown keys are errors, values never change, errors hide their input."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def duration(key: str, default: float | None, description: str, *, at_least_s: float = 0.0) -> Any:
    """A field whose key in the file is `key` and whose value is a duration of at least `at_least_s`."""
    extra: dict[str, Any] = {"ge": at_least_s}  # for `json_schema`: pydantic has it of plain numbers only
    return Field(default=default, alias=key, ge=at_least_s, description=description, json_schema_extra=extra)


def _base_url(text: str) -> str:
    check_http_url(text)
    parts = urlsplit(text)
    if parts.username is not None or parts.query or parts.fragment:
        raise refused("must not hold a user, a query or a fragment")
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise refused("must begin with https:// (http is for loopback addresses only)")
    return text.rstrip("/")


def _proxy_url(url: SecretUrl) -> SecretUrl:
    expected = refused("expected an HTTP proxy such as http://proxy.example.com:3128")
    try:
        parts = urlsplit(check_http_url(url.get_secret_value()))
    except PydanticCustomError:
        raise expected from None
    if parts.scheme != "http" or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise expected
    return url


def _external_url(text: str) -> str:
    return check_http_url(text).rstrip("/")


def _listen(text: str) -> str:
    try:
        split_address(text)
    except ValueError as error:
        raise custom(str(error)) from None
    return text


def _store_url(url: StoreUrl) -> StoreUrl:
    scheme, separator, rest = url.get_secret_value().partition("://")
    if not separator or scheme not in ("sqlite", "postgresql"):
        raise refused("expected sqlite:////path/to/file.db or postgresql://user@host/database")
    if scheme == "sqlite" and (not rest.startswith("/") or len(rest) < 2 or ":memory:" in rest):
        raise refused("expected a file: sqlite:////absolute/path.db (four slashes) or sqlite:///relative.db")
    known = store_url(url.get_secret_value())
    if known is None or (known.host and not is_host(known.host)):
        raise refused(
            "expected postgresql://user@host/database; what is special in a password is written %23"
        )
    if re.search(r"[\x00-\x1f\x7f]", rest):
        raise refused("must not hold control characters")
    return url


class CloudNexus(Section):
    """`cloudnexus`: the API and the key to it."""

    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        default="https://api.cloudnexus.io/v1",
        description="Where the API is. https only; plain http is accepted for a loopback host.",
    )
    api_key: SecretText | None = Field(
        default=None, description="The API key. Better given by file or credential."
    )
    api_key_file: Path | None = Field(
        default=None, description="A file that holds the API key; read again when it changes."
    )
    proxy: Annotated[SecretUrl, AfterValidator(_proxy_url)] | None = Field(
        default=None,
        description="An HTTP proxy for the API: `http://[user:password@]host:port`. Environment variables "
        "such as `HTTPS_PROXY` are ignored.",
    )
    proxy_file: Path | None = Field(default=None, description="A file that holds the proxy's URL.")
    ca_file: Path | None = Field(
        default=None,
        description="Certificate authorities (PEM) to trust instead of the system's; read again when the "
        "file changes.",
    )
    timeout_s: Seconds = duration("timeout", 10.0, "How long one request may take.", at_least_s=0.1)
    max_concurrent_requests: Whole = Field(default=8, ge=1, le=256, description="Requests under way at once.")
    max_requests_per_second: Number = Field(
        default=50.0, gt=0, le=10_000, allow_inf_nan=False, description="The client's own rate limit."
    )


class Polling(Section):
    """`polling`: how often each listing is read."""

    regions_s: Seconds = duration("regions", 15.0, "Time between polls of regions.", at_least_s=0.1)
    instances_s: Seconds = duration("instances", 30.0, "Time between polls of instances.", at_least_s=0.1)


class Refusal(Section):
    """One addition to the table that classifies refusals; `status` or `code` (or both) must match."""

    status: WholeOrNone = Field(
        default=None, ge=300, le=599, description="HTTP status to match; any when absent."
    )
    code: ShortText = Field(default="*", description="`error.code` to match; `*` and `?` stand for others.")
    kind: Kind = Field(
        description="What the refusal means; `unknown`: that something may have been made, so verify."
    )
    scope: Scope = Field(description="What the refusal is about.")


class Placement(Section):
    """`placement`: the policy and its time limits."""

    max_creates_per_minute: Number = Field(
        default=30.0,
        gt=0,
        le=100_000,
        allow_inf_nan=False,
        description="Creates sent per minute, overall; the burst is one minute's worth, at most 10.",
    )
    settle_s: Seconds = duration("settle", 300.0, "How long CloudNexus may take to list a created instance.")
    provisioning_timeout_s: Seconds = duration(
        "provisioning_timeout",
        900.0,
        "How long an instance may take to run before its placement fails.",
        at_least_s=1.0,
    )
    hold_after_s: Seconds = duration(
        "hold_after",
        3600.0,
        "After how long without a proof, outages apart, a lost create is held for a person.",
    )
    max_data_age_s: Seconds | None = duration(
        "max_data_age", None, "Region data older than this places nothing. Default: 3 × `polling.regions`."
    )
    smoothing_s: Seconds | None = duration(
        "smoothing",
        None,
        "Half-life of the moving average over a region's latency; off when absent.",
        at_least_s=0.1,
    )
    switch_margin_s: Seconds | None = duration(
        "switch_margin", None, "How much lower a latency must be to take over from the best; off when absent."
    )
    max_per_region: WholeOrNone = Field(
        default=None, ge=1, description="Instances allowed per region; no cap when absent."
    )
    max_instances: WholeOrNone = Field(
        default=None,
        ge=1,
        description="Live instances and open placements allowed in total; more placements wait. "
        "No limit when absent.",
    )
    max_instances_per_plan: WholeOrNone = Field(
        default=None, ge=1, description="The same for each plan; no limit when absent."
    )
    refusals: tuple[Refusal, ...] = Field(
        default=(), description="Additions to the table that classifies refusals."
    )


class Spread(Section):
    """At most `max_skew` more instances of `group` in one eligible region than in another."""

    group: ShortText = Field(description="Instances that are spread together.")
    max_skew: Whole = Field(default=1, ge=1, description="The largest difference between two regions.")


class Fleet(Section):
    """One entry of `fleets`: instances that are kept alive."""

    name: Name = Field(description="Its instances are called this, a hyphen and 5 letters or digits.")
    count: Whole = Field(ge=0, le=100_000, description="Instances to keep alive.")
    plan: Literal["starter", "pro", "enterprise"] = Field(description="Instance tier.")
    image: ShortText = Field(default=DEFAULT_IMAGE, description="OS base image.")
    ssh_keys: tuple[ShortText, ...] = Field(default=(), description="SSH key ids to inject.")
    regions: tuple[Slug, ...] | None = Field(
        default=None, min_length=1, description="Allowed regions; all when absent."
    )
    avoid_regions: tuple[Slug, ...] = Field(default=(), description="Regions never to use.")
    where: str | None = Field(default=None, description="CEL over `region` that an allowed region satisfies.")
    spread: Spread | None = Field(default=None, description="Limit on unevenness between regions.")
    replace_stopped: bool = Field(default=False, description="Whether a stopped instance counts as lost.")
    max_replacements: Whole = Field(
        default=1, ge=0, description="Creates in flight at once beyond `count` existing instances."
    )


class Tls(Section):
    """`server.tls`: serve HTTPS."""

    cert_file: Path = Field(description="Certificate chain, PEM.")
    key_file: Path = Field(description="Private key, PEM.")
    client_ca_file: Path | None = Field(
        default=None, description="Require client certificates signed by these CAs, PEM."
    )


class Server(Section):
    """`server`: the daemon's own HTTP server."""

    listen: Annotated[str, AfterValidator(_listen)] = Field(
        default="127.0.0.1:9650", description="Address and port; `:9650` and `[::]:9650` are every address."
    )
    write_token: SecretText | None = Field(default=None, description="Bearer token that unsafe methods need.")
    write_token_file: Path | None = Field(default=None, description="A file that holds the write token.")
    read_token: SecretText | None = Field(
        default=None, description="Bearer token that everything else needs."
    )
    read_token_file: Path | None = Field(default=None, description="A file that holds the read token.")
    tls: Tls | None = Field(default=None, description="Serve HTTPS.")
    external_url: Annotated[str, AfterValidator(_external_url)] | None = Field(
        default=None,
        description="The URL by which people reach the daemon, for links in notifications. "
        "Default: the listen address.",
    )
    shutdown_timeout_s: Seconds = duration(
        "shutdown_timeout", 20.0, "How long a stop waits for a create in flight."
    )

    @property
    def address(self) -> tuple[str, int]:
        """(host, port); host "" is every address."""
        return split_address(self.listen)

    @property
    def public_url(self) -> str:
        """Return `external_url`, else the listen address.

        The host's name replaces a wildcard address.

        "" while the system is to choose the port.
        """
        if self.external_url is not None:
            return self.external_url
        host, port = self.address
        if port == 0:
            return ""
        if host in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            host = socket.gethostname()
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self.tls is not None else 'http'}://{shown}:{port}"


class Store(Section):
    """`store`: the durable memory."""

    url: Annotated[StoreUrl, AfterValidator(_store_url)] = Field(
        default=StoreUrl("sqlite:///nexusd.db"),
        description="SQLite file or PostgreSQL database. "
        "Default: `nexusd.db` in `$STATE_DIRECTORY`, else in the current folder.",
    )


class Log(Section):
    """`log`: what is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least level shown."
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="`auto` is console on a terminal and JSON otherwise."
    )


class History(Section):
    """`history`: what is remembered of the past."""

    retention_s: Seconds = duration(
        "retention",
        30 * 86400.0,
        "How long events and closed placements are kept; a placement longer while its instance is listed.",
        at_least_s=60.0,
    )


class Metrics(Section):
    """`metrics`: what `/metrics` holds."""

    per_instance: bool = Field(default=False, description="Add series for every instance.")
    max_instances: Whole = Field(
        default=10_000, ge=0, le=1_000_000, description="Instances with series of their own, at most."
    )
