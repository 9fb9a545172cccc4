"""HTML that cannot be unescaped by mistake: text is escaped unless an element made it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_VOID = frozenset({"link", "meta", "br"})


class Html(str):
    """Markup that is safe to put into a page as it is."""

    __slots__ = ()


def markup(child: object) -> str:
    """A child as markup: `Html` as it is, anything else as escaped text, None as nothing."""
    if child is None:
        return ""
    return child if isinstance(child, Html) else escape(str(child))


def element(tag: str, /, *children: object, **attributes: str | None) -> Html:
    """`element("td", text, class_="bad")`. Attribute names lose a closing underscore, and `_` becomes `-`."""
    own = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{own}>")
    return Html(f"<{tag}{own}>{''.join(map(markup, children))}</{tag}>")


def table(caption: str, headings: Iterable[str], rows: Iterable[Iterable[object]]) -> Html:
    """A row's first cell is its heading; a cell may be an element of its own (`td`)."""
    head = element("tr", *(element("th", heading, scope="col") for heading in headings))
    body = [element("tr", *_cells(row)) for row in rows]
    return element(
        "div",
        element("table", element("caption", caption), element("thead", head), element("tbody", *body)),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def _cells(row: Iterable[object]) -> Iterable[Html]:
    for n, cell in enumerate(row):
        if isinstance(cell, Html) and cell.startswith("<td"):
            yield cell
        else:
            yield element("th", cell, scope="row") if n == 0 else element("td", cell)
