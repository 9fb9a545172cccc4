"""Prints tables: plain columns in a pipe, where nothing is cut or left out; on a terminal as wide as it is.

What a person copies (ids, names) stays in one piece: where a terminal is too narrow, columns of words are
wrapped first, and then the columns that matter least are left out, which is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nexusd.cli.output import COLOURS, note, on_terminal, show

GAP = 2
"""Spaces between two columns."""
NARROWEST = 20
"""What a column of words is wrapped to at the least."""


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    words: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> None:
    """`words`: columns that may be wrapped. `optional`: those that a terminal shows only if there is
    something in them and room for them; the first is left out first.
    """
    cells = [[show(value) for value in row] for row in rows]
    if on_terminal():
        _print_rich(headings, cells, words, optional)
        return
    widths = [max(len(row[n]) for row in [list(headings), *cells]) for n in range(len(headings))]
    for line in [[heading.upper() for heading in headings], *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _print_rich(
    headings: Sequence[str], cells: Sequence[Sequence[str]], words: Sequence[str], optional: Sequence[str]
) -> None:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    columns = [[heading, *(row[n] for row in cells)] for n, heading in enumerate(headings)]
    widths = {column[0]: max(map(cell_len, column)) for column in columns}
    empty = {column[0] for column in columns if column[0] in optional and set(column[1:]) <= {"-"}}
    needed = {
        heading: min(width, NARROWEST) if heading in words else width
        for heading, width in widths.items()
        if heading not in empty
    }
    left_out = _without_room(needed, optional, console.width)
    shown = [n for n, heading in enumerate(headings) if heading in needed and heading not in left_out]
    fits = _width([needed[headings[n]] for n in shown]) <= console.width
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
    for n in shown:
        table.add_column(headings[n], overflow="fold", no_wrap=fits and headings[n] not in words)
    for row in cells:
        table.add_row(*(Text(row[n], style=COLOURS.get(row[n], "")) for n in shown))
    console.print(table)
    if not cells:
        note("none")
    if left_out:
        note(f"no room for {', '.join(left_out)}; -o json has everything")


def _without_room(needed: dict[str, int], optional: Sequence[str], width: int) -> list[str]:
    """The headings that have to go until the others fit."""
    left_out: list[str] = []
    for heading in (h for h in optional if h in needed):
        if _width([size for name, size in needed.items() if name not in left_out]) <= width:
            break
        left_out.append(heading)
    return left_out


def _width(sizes: Sequence[int]) -> int:
    return sum(sizes) + GAP * max(len(sizes) - 1, 0)
