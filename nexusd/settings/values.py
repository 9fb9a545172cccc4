"""The kinds of value a key can have: durations, secrets, secret URLs, addresses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from pydantic import BeforeValidator, GetCoreSchemaHandler, Secret, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema
from yarl import URL

from nexusd.core.durations import parse_duration
from nexusd.core.text import strip_secret

_NUMBER = r"[0-9]{1,10}(\.[0-9]{1,6})?"
DURATION_PATTERN = (
    "^(0|(?=.)" + "".join(f"({_NUMBER}{unit})?" for unit in ("w", "d", "h", "m", "s", "ms")) + ")$"
)
_UNIT_MS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_LONGEST_S = 10 * 365 * 86400.0
MASK = "**********"


def read_duration(value: object) -> float:
    """Seconds from `30s`, `5m`, `1h30m`, `500ms`, `30d`, or `0`. Any other number without a unit is refused,
    because nobody could tell what was meant.

    Raises `ValueError` with what is expected.
    """
    if value == 0 and not isinstance(value, bool):
        return 0.0
    seconds = parse_duration(value.strip() if isinstance(value, str) else "")
    if seconds > _LONGEST_S:
        raise ValueError("a duration of at most 10 years")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest spelling that `read_duration` reads back, to the millisecond: 90.0 → `1m30s`."""
    rest_ms = round(seconds * 1000)
    parts = []
    for unit, size_ms in _UNIT_MS.items():
        if unit == "w" and rest_ms % size_ms:
            continue  # 30d rather than 4w2d, as Prometheus writes it
        count, rest_ms = divmod(rest_ms, size_ms)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _duration(value: Any) -> float:
    try:
        return read_duration(value)
    except ValueError as error:
        raise PydanticCustomError("duration", "{expected}", {"expected": str(error)}) from None


Seconds = Annotated[
    float,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN}),
]
"""A duration; seconds once read. `json_schema` describes it."""


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise custom("a number")
    return value


Whole = Annotated[int, BeforeValidator(_no_boolean)]
"""A whole number. `true` is an error: pydantic alone reads it as 1."""
WholeOrNone = Annotated[int | None, BeforeValidator(_no_boolean)]
Number = Annotated[float, BeforeValidator(_no_boolean)]


class _Secret(Secret[str]):
    """A secret without surrounding byte-order marks and line breaks."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        schema = super().__get_pydantic_core_schema__(source, handler)
        return core_schema.no_info_before_validator_function(_without_ends, schema)


def _without_ends(value: Any) -> Any:
    return value.strip("\ufeff\r\n") if isinstance(value, str) else value


class SecretText(_Secret):
    """A secret that shows as asterisks wherever it is printed."""

    def _display(self) -> str:
        return MASK


class SecretUrl(_Secret):
    """A URL that is itself a secret (webhooks often carry a token in the path): shows scheme and host."""

    def _display(self) -> str:
        parts = urlsplit(self.get_secret_value())
        host = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        return f"{parts.scheme}://{host}/…"


class StoreUrl(_Secret):
    """A database URL: shows everything but the password."""

    def _display(self) -> str:
        url = store_url(self.get_secret_value())
        if url is None:
            return MASK
        if url.password is None and not url.query:
            return self.get_secret_value()
        shown = url.set(query={}).render_as_string(hide_password=True).replace(":***@", f":{MASK}@")
        return f"{shown}?{MASK}" if url.query else shown


def store_url(text: str) -> sa.URL | None:
    """As the store reads it; None when it cannot."""
    try:
        return sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        return None


def custom(expected: str) -> PydanticCustomError:
    """An error whose message says what was expected; the reporter adds what was given."""
    return PydanticCustomError("expected", "{expected}", {"expected": expected})


def refused(message: str) -> PydanticCustomError:
    """An error whose message is whole, and does not repeat the value."""
    return PydanticCustomError("refused", "{message}", {"message": message})


def is_loopback(host: str) -> bool:
    """Whether a host as written in a URL or address is this machine itself."""
    bare = host.strip("[]").lower()
    return bare in ("localhost", "::1") or bool(re.fullmatch(r"127(\.[0-9]{1,3}){3}", bare))


def is_host(text: str) -> bool:
    """Whether it can be asked for at all: of a name every label has 1 to 63 characters (RFC 1035, 2.3.4)."""
    try:
        return bool(text.encode("idna")) and not re.search(r"[\s/@\[\]]", text)
    except UnicodeError:
        return False


def check_http_url(text: str) -> str:
    """An absolute http or https URL with a host and a valid port. The error never repeats the URL."""
    try:
        parts = urlsplit(text)
        host = parts.hostname is not None and is_host(parts.hostname) and URL(text).host is not None
        usable = parts.scheme in ("http", "https") and host and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[\s\x00-\x1f\x7f]", text):
        raise refused("expected a URL such as https://host/path")
    return text


def split_address(text: str) -> tuple[str, int]:
    """(host, port) of `127.0.0.1:9650`, `[::1]:9650` or `:9650` (every address; host is then "").

    Raises `ValueError` with what is expected.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if (
        not colon
        or not re.fullmatch(r"[0-9]{1,5}", port)
        or int(port) > 65535
        or (":" in host and not bracketed)
    ):
        raise ValueError("an address and port such as 127.0.0.1:9650")
    bare = host.strip("[]")
    if bare and not is_host(bare):
        raise ValueError("an address and port such as 127.0.0.1:9650")
    return bare, int(port)


def why_unread(error: OSError | ValueError) -> str:
    """In the system's words. `ValueError`: the path has a null character, which no file has."""
    return str(getattr(error, "strerror", None) or error)


ONE_OR_MANY = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


def one_or_many(value: Any) -> Any:
    """A key that takes one value or a list of them is always a list once read."""
    return value if isinstance(value, list | tuple) else (value,)


def read_secret_file(path: Path) -> str:
    """Return the one line of a secret's file, without surrounding white space.

    Raises `ValueError` with a reason that names the file and never what is in it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(65537)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {why_unread(error)}") from None
    if len(data) > 65536:
        raise ValueError(f"{path} is too large for a secret")
    try:
        text = strip_secret(data.decode())
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text") from None
    if not text:
        raise ValueError(f"{path} is empty")
    if not text.isprintable():
        raise ValueError(f"{path} holds more than one line, or characters that cannot be sent")
    return text
