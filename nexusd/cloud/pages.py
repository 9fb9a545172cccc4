"""Pages of instances from bytes, with what was decoded last time used again. Used by `client`.

A page whose bytes are those of last time is not decoded again. Of a page that changed, each record that is
as it was at the same place stays the same object, so that the next snapshot shares it with the one before,
and comparing the two is a matter of identity. New records share their status and region texts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from msgspec.structs import force_setattr

from nexusd.cloud.stitch import Page
from nexusd.cloud.wire import decode_page
from nexusd.core.records import Instance

MAX_TEXTS = 10_000
"""Distinct statuses and regions that are shared; past it (an API sending nonsense) they start anew."""


@dataclass(slots=True)
class _Remembered:
    digest: bytes
    page: Page
    sweep: int


class PageReader:
    """Remembers the pages of the latest sweep by offset."""

    def __init__(self) -> None:
        self._pages: dict[int, _Remembered] = {}
        self._texts: dict[str, str] = {}
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
        kept = [old if old == new else new for old, new in zip(before, rows, strict=False)]
        fresh = rows[len(kept) :]
        for old, new in zip(before, kept, strict=False):
            if old is not new:
                self._intern(new)
        for new in fresh:
            self._intern(new)
        return (*kept, *fresh)

    def _intern(self, instance: Instance) -> None:
        """Share the texts that repeat. Nobody else has seen the record yet, so it is still this one's."""
        texts = self._texts
        if len(texts) > MAX_TEXTS:
            texts.clear()
        force_setattr(instance, "status", texts.setdefault(instance.status, instance.status))
        force_setattr(instance, "region", texts.setdefault(instance.region, instance.region))
