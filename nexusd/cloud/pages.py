"""Pages of instances from bytes, with what was decoded last time used again. Used by `client`.

A page whose bytes are those of last time is not decoded again. Of a page that changed, each record that is
as it was stays the same object, at whatever place, so that the next snapshot shares it with the one before,
and comparing the two is a matter of identity. New records share their status, their region and their size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import force_setattr

from nexusd.cloud.stitch import Page
from nexusd.cloud.wire import decode_page
from nexusd.core.records import Instance, Specs

MAX_SHARED = 10_000
"""Distinct statuses and regions, or sizes, that are shared; past it (nonsense is sent) they start anew."""

Known = Callable[[str], Instance | None]
"""The record of an id as it is known now."""


def nothing_known(_instance_id: str) -> None:
    return None


@dataclass(slots=True)
class _Remembered:
    digest: bytes
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
        digest = hashlib.sha256(body, usedforsecurity=False).digest()
        known = self._pages.get(offset)
        if known is not None and known.digest == digest:
            known.sweep = self._sweep
            return known.page
        answer = decode_page(body, "GET /instances")
        rows = self._shared(answer.data, known.page.rows if known is not None else ())
        meta = answer.meta
        page = Page(meta.offset, meta.limit, meta.total, rows)
        self._pages[offset] = _Remembered(digest, page, self._sweep)
        return page

    def swept(self) -> None:
        """A sweep is complete: forget the pages it did not read."""
        for offset in [o for o, known in self._pages.items() if known.sweep != self._sweep]:
            del self._pages[offset]
        self._sweep += 1

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
