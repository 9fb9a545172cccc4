"""Prints results as JSON or as fields.

Output has colours on a terminal, and none in a pipe.

Control characters in names and messages are escaped wherever they are shown: the name of an instance must not
control a terminal. Tables are in `tables.py`.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

COLOURS = {
    **dict.fromkeys(("running", "healthy", "yes", "ok", "created", "adopted", "sent", "active"), "green"),
    **dict.fromkeys(("failed", "terminated", "down", "firing", "held", "expired", "dead", "critical"), "red"),
    **dict.fromkeys(("degraded", "stopped", "verifying", "stale", "suppressed", "warning"), "yellow"),
    **dict.fromkeys(("pending", "provisioning", "queued", "creating"), "cyan"),
}
"""The colour of a cell that is exactly this."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_UNITS_S = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def printable(text: str) -> str:
    """Return the text with everything that is not visible written as an escape.

    Spaces stay.
    """
    if text.isprintable():
        return text
    return "".join(c if unicodedata.category(c) not in _HIDDEN else _escape(c) for c in text)


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def show(value: Any) -> str:
    """One cell: `-` for what is not known, yes and no, numbers without a needless fraction."""
    if value is None or value == "" or value == [] or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
    if isinstance(value, list | tuple):
        return printable(", ".join(show(item) for item in value))
    if isinstance(value, dict):
        return printable(json.dumps(value, ensure_ascii=False))
    return printable(str(value))


def on_terminal() -> bool:
    """Whether a person reads the output as it is written."""
    return sys.stdout.isatty()


def when(value: Any) -> Any:
    """A time of an answer (RFC 3339): on a terminal how long ago, or in how long; in a pipe as it is."""
    if not on_terminal() or not isinstance(value, str):
        return value
    try:
        ahead_s = (datetime.fromisoformat(value) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return value
    return f"in {duration(ahead_s)}" if ahead_s > 0 else f"{duration(-ahead_s)} ago"


def duration(seconds: float) -> str:
    """`41s`, `5m`, `3h12m`, `2d4h`: at most two units."""
    whole = int(seconds)
    for (unit, size), (smaller, part) in pairwise(_UNITS_S):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size}{unit}" + (f"{rest}{smaller}" if rest else "")
    return f"{whole}s"


def print_json(value: Any) -> None:
    """Print JSON, indented on a terminal and one line in a pipe.

    ASCII only, so that it cannot control a terminal.
    """
    print(to_json(value, indent=2 if on_terminal() else None))


def to_json(value: Any, indent: int | None = None) -> str:
    """Return JSON in visible ASCII."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def print_fields(pairs: Sequence[tuple[str, Any]]) -> None:
    """One thing: a name and a value on each line."""
    cells = [(printable(name), show(value)) for name, value in pairs]
    if on_terminal():
        _print_rich(cells)
        return
    width = max((len(name) for name, _ in cells), default=0)
    for name, value in cells:
        print(f"{name.ljust(width)}  {value}")


def note(text: str) -> None:
    """A remark beside the result, on stderr, so that a pipe gets the result alone."""
    print(printable(text), file=sys.stderr)


def note_warnings(answer: Mapping[str, Any], prefix: str = "") -> None:
    """Print the `warnings` of an answer on stderr, with JSON output as well."""
    found = answer.get("warnings")
    for warning in found if isinstance(found, list) else []:
        note(f"warning: {prefix}{warning}")


def _print_rich(cells: Sequence[tuple[str, str]]) -> None:
    """Long values are wrapped beside their names."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for name, value in cells:
        grid.add_row(Text(name), Text(value, style=COLOURS.get(value, "")))
    Console().print(grid)
