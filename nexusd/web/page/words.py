"""How the page says things: durations, times, counts, and a state by its word, its colour and its shape."""

from __future__ import annotations

from enum import StrEnum

from nexusd.core.placement import Considered
from nexusd.web.page.html import Html, element
from nexusd.web.shapes import Shaper


class Kind(StrEnum):
    """How good something is. Each is a colour and a shape in the stylesheet, beside the word itself."""

    GOOD = "good"
    POOR = "poor"
    BAD = "bad"
    IDLE = "idle"


def status(kind: Kind, text: object) -> Html:
    return element("span", text, class_=f"status {kind}")


def duration(seconds: float) -> str:
    """In its largest fitting unit, for people. The script says it in the same way."""
    for size_s, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def ago(at: float | None, shaper: Shaper, never: str = "never") -> object:
    """How long ago, with the time itself to be hovered over; kept true by the script."""
    return _time(at, f"{duration(shaper.now - at)} ago", "ago", shaper) if at is not None else never


def age(at: float | None, shaper: Shaper, never: str = "never") -> object:
    """The same without the word: `12 s`."""
    return _time(at, duration(shaper.now - at), "age", shaper) if at is not None else never


def until(at: float, shaper: Shaper) -> Html:
    """How long until then: `in 5 min`."""
    return _time(at, f"in {duration(at - shaper.now)}", "until", shaper)


def _time(at: float, text: str, says: str, shaper: Shaper) -> Html:
    moment = shaper.time(at)
    if moment is None:
        return element("span", text)
    return element(
        "time", text, datetime=moment, title=moment[:19].replace("T", " ") + " UTC", data_says=says
    )


def plural(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def milliseconds(value: float | None) -> str:
    return f"{value:g} ms" if value is not None else "not known"


def where_next(considered: Considered) -> Html:
    """Its place in the order of eligible regions, or all that stands against it."""
    if considered.eligible:
        return status(Kind.GOOD, f"rank {considered.rank}")
    return status(Kind.POOR, "; ".join(dict.fromkeys(considered.reasons)) or "not eligible")
