"""Times on the command line: RFC 3339, or a duration from now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import typer

from nexusd.cli.output import printable
from nexusd.core.durations import parse_duration

EXPECTED = "a duration such as 30m, or an RFC 3339 time such as 2030-01-31T12:00:00Z"
EXPECTED_PAST = "an event ID, a duration such as 1h, or an RFC 3339 time such as 2030-01-31T12:00:00Z"


def ago(text: str, option: str) -> str:
    """Return the time that a duration was ago, as RFC 3339.

    An event ID or an RFC 3339 time is returned unchanged.

    Raises typer's usage error for other text, and for a duration that leads before the calendar.
    """
    if (text.isascii() and text.isdecimal()) or _moment(text) is not None:
        return text
    try:
        seconds = parse_duration(text)
    except ValueError:
        raise typer.BadParameter(f"{printable(text)!r} is not {EXPECTED_PAST}", param_hint=option) from None
    return to_rfc3339(shifted(datetime.now(UTC), -seconds, text, option))


def from_now(text: str, option: str, now: datetime) -> datetime:
    """Return the time after a duration, or the RFC 3339 time.

    Raises typer's usage error.
    """
    try:
        return shifted(now, parse_duration(text), text, option)
    except ValueError:
        pass
    moment = _moment(text)
    if moment is None:
        raise typer.BadParameter(f"{printable(text)!r} is not {EXPECTED}", param_hint=option)
    return moment.astimezone(UTC)


def _moment(text: str) -> datetime | None:
    """Return the RFC 3339 time with a zone, or None for other text."""
    try:
        moment = datetime.fromisoformat(text) if "T" in text.upper() else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def shifted(moment: datetime, seconds: float, text: str, option: str) -> datetime:
    """Return the time so many seconds later.

    Raises typer's usage error beyond the calendar.
    """
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        raise typer.BadParameter(f"{printable(text)} is too long", param_hint=option) from None


def to_rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
