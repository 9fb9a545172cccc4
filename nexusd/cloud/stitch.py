"""Runs of a list that were read at different times, and whether they fit together. Pure; used by `sweep`.

A run is what one page answered: rows that stood next to each other at one moment.
"""

from __future__ import annotations

import msgspec

from nexusd.core.records import Instance


class Page(msgspec.Struct, frozen=True, gc=False):
    """One answer of `GET /instances`: `rows` stood at `offset` of a list of `total`; at most `limit` fit."""

    offset: int
    limit: int
    total: int
    rows: tuple[Instance, ...]

    @property
    def end(self) -> int:
        """The position after the last row."""
        return self.offset + len(self.rows)

    @property
    def reaches_end(self) -> bool:
        return self.end >= self.total


class Run(msgspec.Struct, frozen=True, gc=False):
    """A page, its `number` in the order in which the answers came, and the `epoch` it came in: those that
    follow each other with the same total share one.
    """

    number: int
    epoch: int
    page: Page


def fault(page: Page, offset: int, limit: int) -> str | None:
    """What is wrong with the answer to `offset` and `limit` taken by itself, or None."""
    if page.offset != offset:
        return f"offset {offset} was asked, meta.offset is {page.offset}"
    if page.total < 0:
        return f"meta.total is {page.total}"
    if not 1 <= page.limit <= limit:
        return f"limit {limit} was asked, meta.limit is {page.limit}"
    if len(page.rows) > page.limit:
        return f"{len(page.rows)} rows on a page of {page.limit}"
    if len(page.rows) < page.limit and page.end < page.total:
        return f"{len(page.rows)} rows at offset {offset}, though meta.total is {page.total}"
    if page.end > page.total and page.rows and offset + len({r.id for r in page.rows}) > page.total:
        return f"rows up to {page.end}, though meta.total is {page.total}"
    return None


def agree(left: Page, right: Page) -> bool:
    """Whether the tail of one is the head of the other, row for row and at least one row."""
    a, b = left.rows, right.rows
    if not a or not b:
        return False
    head = b[0].id
    if a[-1].id == head:
        return True
    at = next((i for i in range(len(a) - 2, -1, -1) if a[i].id == head), None)
    if at is None:
        return False
    tail = a[at:]
    return len(tail) <= len(b) and all(x.id == y.id for x, y in zip(tail, b, strict=False))


def share_a_row(left: Page, right: Page) -> bool:
    """Whether any instance is in both."""
    ids = {row.id for row in left.rows}
    return any(row.id in ids for row in right.rows)


def slide(before: Page, after: Page) -> int | None:
    """By how many rows a page's content moved (positive: away from the head) between two readings.

    None when it did more than move: rows came or went among those that both readings show, or none is shown
    by both.
    """
    old, new = [row.id for row in before.rows], [row.id for row in after.rows]
    if old == new:
        return 0
    if not old or not new or before.offset == 0:
        return None
    if old[0] in new:
        shift = new.index(old[0])
        return shift if shift and old[: len(new) - shift] == new[shift:] else None
    if new[0] in old:
        shift = old.index(new[0])
        return -shift if old[shift:] == new[: len(old) - shift] else None
    return None
