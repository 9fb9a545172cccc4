"""An ordered listing of rows, served in pages of bytes that are kept until something in them changes.

A page is a join of its rows' JSON. Rows are grouped in chunks; each chunk carries the tick of its last
change, each kept page the tick at which it was joined. So one change costs one stamp, whatever pages
(aligned or overlapping) cover it, and an insertion costs a stamp for every chunk behind it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable

from nexusd.emulator.rows import Row

_CHUNK = 64
_MAX_KEPT_BYTES = 384 * 1024 * 1024


def _rank(row: Row) -> float:
    return row.rank


class Listing:
    """Rows in the order of their rank. `body` gives a row's JSON."""

    def __init__(self, rows: Iterable[Row], body: Callable[[Row], bytes]) -> None:
        self._rows = list(rows)
        self._body = body
        self._tick = 0
        self._stamps = [0] * (len(self._rows) // _CHUNK + 1)
        self._pages: dict[tuple[int, int], tuple[int, bytes]] = {}
        self._kept_bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        return self._rows[index]

    def page(self, offset: int, limit: int) -> bytes:
        """The JSON of up to `limit` rows from `offset`, joined by commas."""
        kept = self._pages.get((offset, limit))
        if kept is not None and kept[0] >= self._changed_at(offset, limit):
            return kept[1]
        return self._join(offset, limit)

    def insert(self, row: Row) -> None:
        index = bisect_left(self._rows, row.rank, key=_rank)
        self._rows.insert(index, row)
        self._shifted(index)

    def remove(self, row: Row) -> None:
        index = self._index(row)
        del self._rows[index]
        self._shifted(index)

    def changed(self, row: Row) -> None:
        """The row's JSON is no longer what it was."""
        self._tick += 1
        self._stamps[self._index(row) // _CHUNK] = self._tick

    def rank_before(self, index: int, fraction: float) -> float | None:
        """A rank that puts a row right before `index`; None when its neighbours leave no room between them.

        `fraction` (between 0 and 1, drawn at random) says where between them, so that a row which is out of
        the listing for a while does not come back to a rank that another one took.
        """
        high = self._rows[index].rank
        low = self._rows[index - 1].rank if index else high - 1.0
        rank = low + (high - low) * fraction
        return rank if low < rank < high else None

    def _index(self, row: Row) -> int:
        return bisect_left(self._rows, row.rank, key=_rank)

    def _changed_at(self, offset: int, limit: int) -> int:
        return max(self._stamps[offset // _CHUNK : (offset + limit - 1) // _CHUNK + 1], default=0)

    def _shifted(self, index: int) -> None:
        self._tick += 1
        first = index // _CHUNK
        chunks = max(len(self._stamps), len(self._rows) // _CHUNK + 1)
        self._stamps[first:] = [self._tick] * (chunks - first)

    def _join(self, offset: int, limit: int) -> bytes:
        body = self._body
        page = b",".join([row.body or body(row) for row in self._rows[offset : offset + limit]])
        if not page:
            return page
        before = self._pages.get((offset, limit))
        self._kept_bytes += len(page) - (len(before[1]) if before is not None else 0)
        if self._kept_bytes > _MAX_KEPT_BYTES:
            self._pages.clear()
            self._kept_bytes = len(page)
        self._pages[offset, limit] = (self._tick, page)
        return page
