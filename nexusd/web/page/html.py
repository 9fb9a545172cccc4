"""HTML that cannot be unescaped by mistake: text is escaped unless an element made it.

What is foreign is made printable, too: a control character or a change of direction in a name is shown as an
escape and steers nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from html import escape
from typing import NamedTuple

from nexusd.core.text import printable

_VOID = frozenset({"link", "meta", "input"})
_SHAPES = frozenset({"circle", "path", "polyline", "rect"})
"""In SVG what has no content is closed by itself."""


class Html(str):
    """Markup that is safe to put into a page as it is."""

    __slots__ = ()


def markup(child: object) -> str:
    """A child as markup: `Html` as it is, anything else as escaped text, None as nothing."""
    if type(child) is Html:
        return child
    return escape(printable(str(child))) if child is not None else ""


def element(tag: str, /, *children: object, **attributes: str | None) -> Html:
    """`element("td", text, class_="bad")`. Attribute names lose a closing underscore, and `_` becomes `-`."""
    own = "".join([f' {_name(k)}="{_quoted(value)}"' for k, value in attributes.items() if value is not None])
    if tag in _VOID or tag in _SHAPES:
        return Html(f"<{tag}{own}{'/' if tag in _SHAPES else ''}>")
    return Html(f"<{tag}{own}>{''.join([markup(child) for child in children])}</{tag}>")


@lru_cache(maxsize=256)
def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


@lru_cache(maxsize=4096)
def _quoted(value: str) -> str:
    return escape(printable(value))


def together(*children: object) -> Html:
    """Children one after the other, in no element of their own."""
    return Html("".join(map(markup, children)))


class Cell(NamedTuple):
    """What is in a cell of a table, and its class."""

    content: object
    class_: str | None = None


class Row(NamedTuple):
    """`key`: what the row is about; by it a row is known again when the page is renewed. The first cell heads
    the row.
    """

    key: str
    cells: Sequence[object]


def table(caption: str, headings: Sequence[str], rows: Iterable[Row], class_: str = "stack") -> Html:
    """`class_` `stack`: on a narrow screen each row becomes a card, `wide`: it is scrolled sideways.

    Roles are written out, because a table that is laid out as cards is none to some browsers.
    """
    head = element("tr", *(element("th", h, scope="col", role="columnheader") for h in headings), role="row")
    labels = [f'<td role="cell" data-label="{_quoted(heading)}"' for heading in headings]
    body = [_row(row, labels) for row in rows]
    return element(
        "table",
        element("caption", caption, class_="unseen"),
        element("thead", head, role="rowgroup"),
        element("tbody", *body, role="rowgroup"),
        class_=class_,
        role="table",
    )


def _row(row: Row, labels: Sequence[str]) -> Html:
    """`labels`: the beginning of each cell of the column."""
    cells = [_cell(n, cell, label) for n, (cell, label) in enumerate(zip(row.cells, labels, strict=True))]
    return Html(f'<tr role="row" data-key="{_quoted(row.key)}">{"".join(cells)}</tr>')


def _cell(number: int, cell: object, label: str) -> str:
    content, class_ = cell if isinstance(cell, Cell) else (cell, None)
    if number == 0:
        return element("th", content, scope="row", role="rowheader", class_=class_)
    own = f' class="{class_}"' if class_ is not None else ""
    return f"{label}{own}>{markup(content)}</td>"


def scrolled(label: str, wide: Html) -> Html:
    """What may be wider than the screen, scrolled by itself and by the keyboard, too."""
    return element("div", wide, class_="scroll", tabindex="0", role="region", aria_label=label)
