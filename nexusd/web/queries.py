"""Reads what comes in with the request line and the headers. Every error names the parameter."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime

from aiohttp import web

from nexusd.core.errors import InputError

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
"""The bounds of a page, as CloudNexus has them (reference: GET /instances)."""

MAX_MATCH = 255
MAX_OFFSET = 1_000_000_000
LONGEST_TEXT = 1024
_LARGEST_ID = 2**63 - 1
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}"  # Python 3.14 reads 24:00, too
    r"(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)


def text(request: web.Request, name: str) -> str | None:
    """A parameter's value; None when it is absent. Raises `InputError` when it is given twice or too long."""
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise InputError(f"{name}: given more than once", name)
    if values and len(values[0]) > LONGEST_TEXT:
        raise InputError(f"{name}: longer than {LONGEST_TEXT} characters", name)
    return values[0] if values else None


def match_text(request: web.Request) -> str | None:
    """Return `match`, the beginning of an ID or a whole name. Raises `InputError`."""
    value = text(request, "match")
    if value is not None and not (0 < len(value) <= MAX_MATCH and _seen(value)):
        raise InputError(f"match: 1 to {MAX_MATCH} visible characters are expected", "match")
    return value


def _seen(value: str) -> bool:
    """Return whether a database accepts the text.

    It has no control characters and no halves of a surrogate pair.
    """
    return not any(unicodedata.category(char) in ("Cc", "Cs") for char in value)


def integer(request: web.Request, name: str, default: int, bounds: tuple[int, int]) -> int:
    """A whole number within `bounds`, both included. Raises `InputError`."""
    value = text(request, name)
    if value is None:
        return default
    low, high = bounds
    if not re.fullmatch(r"-?[0-9]{1,18}", value, re.ASCII) or not low <= int(value) <= high:
        raise InputError(f"{name}: a whole number from {low} to {high} is expected", name)
    return int(value)


def page(request: web.Request, max_limit: int = MAX_LIMIT) -> tuple[int, int]:
    """`limit` and `offset`. Raises `InputError`."""
    limit = integer(request, "limit", min(DEFAULT_LIMIT, max_limit), (1, max_limit))
    return limit, integer(request, "offset", 0, (0, MAX_OFFSET))


def event_id(value: str) -> int | None:
    """An event's id as text; None for anything else. One too large for the store is the largest there is."""
    return min(int(value), _LARGEST_ID) if re.fullmatch(r"[0-9]{1,19}", value, re.ASCII) else None


def parse_time(value: str) -> float:
    """UTC seconds since the epoch of an RFC 3339 time. Raises `ValueError`; the zone must be given."""
    if len(value) > 64 or not _RFC3339.fullmatch(value):
        raise ValueError("an RFC 3339 time such as 2030-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(value.upper()).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("an RFC 3339 time such as 2030-01-31T12:00:00Z") from None


def quality(header: str, name: str) -> float:
    """The weight that an `Accept` or `Accept-Encoding` header gives to exactly `name`; 0 when it is not in
    there or cannot be read (RFC 9110, section 12.4.2).
    """
    best = 0.0
    for item in header[:4096].split(","):
        value, *parameters = (part.strip().lower() for part in item.split(";"))
        if value == name:
            best = max(best, _weight(parameters))
    return best


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            return float(value) if re.fullmatch(r"[01](\.[0-9]{0,3})?", value.strip(), re.ASCII) else 0.0
    return 1.0
