"""Pages of instances from bytes, with what was decoded last time used again. Used by `client`.

A page whose bytes are those of last time is not decoded again; of one that changed here and there, only the
records whose bytes are others. A record that is as it was stays the same object, at whatever place, so that
the next snapshot shares it with the one before, and comparing the two is a matter of identity. New records
share their status, their region and their size.

Bytes are known again by Python's own hash of them: 64 bits, keyed with a secret of the process.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import compress, count
from operator import ne

from msgspec.structs import force_setattr

from nexusd.cloud.stitch import Page
from nexusd.cloud.wire import RecordsPage, decode_page, decode_record, split_page
from nexusd.core.records import Instance, Specs

MAX_SHARED = 10_000
"""Distinct statuses and regions, or sizes, that are shared; past it (nonsense is sent) they start anew."""

MOST_PATCHED = 0.25
"""The share of a page's records that may have changed for these to be decoded one by one."""

Known = Callable[[str], Instance | None]
"""The record of an id as it is known now."""


def nothing_known(_instance_id: str) -> None:
    return None


@dataclass(slots=True)
class _Remembered:
    """`body` and `records`: hashes of the page's bytes, and of each record's; none where they have no end of
    their own, in a page that is not as documented. `sweep`: the last that read it.
    """

    body: int
    records: array[int]
    page: Page
    sweep: int


class PageReader:
    """Remembers the pages of the latest sweep by offset."""

    def __init__(self, known: Known = nothing_known) -> None:
        self._known = known
        self._pages: dict[int, _Remembered] = {}
        self._texts: dict[str, str] = {}
        self._sizes: dict[Specs, Specs] = {}
        self._sweep = 0

    def decode(self, body: bytes, offset: int) -> Page:
        """The page that was asked at `offset`. Raises what `wire.decode_page` raises."""
        body_hash = hash(body)
        known = self._pages.get(offset)
        if known is not None and known.body == body_hash:
            known.sweep = self._sweep
            return known.page
        split = split_page(body)
        hashes = array("q", map(hash, map(bytes, split.data)) if split is not None else ())
        page = self._patched(known, split, hashes) or self._decoded(known, body)
        self._pages[offset] = _Remembered(body_hash, hashes, page, self._sweep)
        return page

    def swept(self) -> None:
        """A sweep is complete: forget the pages it did not read."""
        for offset in [o for o, known in self._pages.items() if known.sweep != self._sweep]:
            del self._pages[offset]
        self._sweep += 1

    def _patched(
        self, known: _Remembered | None, split: RecordsPage | None, hashes: array[int]
    ) -> Page | None:
        """Return the last page with its changed records decoded; None when that is not worth it.

        A last page that could not be split has rows but no hashes.
        """
        if known is None or split is None or not len(hashes) == len(known.records) == len(known.page.rows):
            return None
        changed = list(compress(count(), map(ne, hashes, known.records)))
        if len(changed) > len(hashes) * MOST_PATCHED:
            return None
        rows = list(known.page.rows)
        for at in changed:
            instance = decode_record(split.data[at])
            if instance is None:
                return None
            rows[at] = self._known_or_interned(instance)
        return Page(split.meta.offset, split.meta.limit, split.meta.total, tuple(rows))

    def _decoded(self, known: _Remembered | None, body: bytes) -> Page:
        answer = decode_page(body, "GET /instances")
        rows = self._shared(answer.data, known.page.rows if known is not None else ())
        return Page(answer.meta.offset, answer.meta.limit, answer.meta.total, rows)

    def _shared(self, rows: list[Instance], before: tuple[Instance, ...]) -> tuple[Instance, ...]:
        shared = [old if old == new else new for old, new in zip(before, rows, strict=False)]
        others = [at for at, (old, row) in enumerate(zip(before, shared, strict=False)) if old is not row]
        shared += rows[len(shared) :]
        for at in (*others, *range(len(before), len(rows))):
            shared[at] = self._known_or_interned(shared[at])
        return tuple(shared)

    def _known_or_interned(self, instance: Instance) -> Instance:
        """The record that is known, if it is the same: it has moved. Otherwise share what repeats.

        Nobody else has seen a new record yet, so it may still be changed.
        """
        known = self._known(instance.id)
        if known == instance:
            return known
        texts, sizes = self._texts, self._sizes
        if len(texts) > MAX_SHARED or len(sizes) > MAX_SHARED:
            texts.clear()
            sizes.clear()
        force_setattr(instance, "status", texts.setdefault(instance.status, instance.status))
        force_setattr(instance, "region", texts.setdefault(instance.region, instance.region))
        if instance.specs is not None:
            force_setattr(instance, "specs", sizes.setdefault(instance.specs, instance.specs))
        return instance
