"""Prints results: JSON for programs, columns for people; with colours on a terminal, plain in a pipe.

What a name or message contains is escaped wherever it is shown: a control character in the name of an
instance must not steer somebody's terminal.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_COLOURS = {
    "running": "green",
    "healthy": "green",
    "yes": "green",
    "ok": "green",
    "created": "green",
    "failed": "red",
    "terminated": "red",
    "down": "red",
    "firing": "red",
    "held": "red",
    "expired": "red",
    "degraded": "yellow",
    "stopped": "yellow",
    "verifying": "yellow",
    "stale": "yellow",
    "pending": "cyan",
    "provisioning": "cyan",
    "queued": "cyan",
    "creating": "cyan",
}


def printable(text: str) -> str:
    """The text with everything that is not visible written as an escape. Isolated spaces stay."""
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


def print_json(value: Any) -> None:
    """Indented on a terminal, one line in a pipe; ASCII only, so that nothing in it steers a terminal."""
    print(json.dumps(value, indent=2 if sys.stdout.isatty() else None))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns. In a pipe nothing is cut, and the first line has the headings."""
    cells = [[show(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(headings, cells)
        return
    widths = [max(len(row[n]) for row in [list(headings), *cells]) for n in range(len(headings))]
    for line in [[heading.upper() for heading in headings], *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_fields(pairs: Sequence[tuple[str, Any]]) -> None:
    """One thing: a name and a value on each line."""
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        print(f"{printable(name).ljust(width)}  {show(value)}")


def note(text: str) -> None:
    """A remark beside the result, on stderr, so that a pipe gets the result alone."""
    print(printable(text), file=sys.stderr)


def _print_rich(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    Console().print(table)
