"""What the event stream keeps ready to be sent, all of it bounded: the newest events, and pages of the
history for those who resume further back. Used by `stream`, shared by all readers.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import NamedTuple

import msgspec

from nexusd.core.events import Event
from nexusd.core.settling import number
from nexusd.web.shapes import Shaper

PAGE = 250
"""Events read at once."""
RECENT = 2_000
RECENT_BYTES = 4 << 20
"""How much is kept of the newest events: who was away for a moment costs no query."""
PAGES_BYTES = 4 << 20
PIECE_BYTES = 16 << 10
"""What a reader is given at once; a single event may be larger."""


class Frame(NamedTuple):
    """One event as it is sent (HTML Living Standard, Server-sent events)."""

    id: int
    at: float
    data: bytes


class Page(NamedTuple):
    """A part of the history, in order. What it lacks up to the id `upto` does not exist."""

    frames: list[Frame]
    upto: int


def frame(event: Event, shaper: Shaper) -> Frame:
    """JSON has no line breaks, and an event's type is a name of nexusd's own, so neither can end a field."""
    head = f"id: {event.id}\nevent: {event.type}\ndata: ".encode()
    return Frame(number(event), event.at, head + msgspec.json.encode(shaper.event(event)) + b"\n\n")


def piece_of(page: Page, after: int, at: float | None) -> tuple[bytes, int]:
    """The next frames after the id, but none from before the instant, and up to which id they reach."""
    taken: list[bytes] = []
    size = 0
    for each in islice(page.frames, bisect_right(page.frames, after, key=_id), None):
        if size >= PIECE_BYTES:
            return b"".join(taken), after
        after = each.id
        if at is None or each.at >= at:
            taken.append(each.data)
            size += len(each.data)
    return b"".join(taken), page.upto


def _id(frame: Frame) -> int:
    return frame.id


class Recent:
    """The newest settled events, up to the id `upto`."""

    def __init__(self, upto: int = 0) -> None:
        self.upto = upto
        self._floor = upto
        self._frames: list[Frame] = []
        self._bytes = 0

    def add(self, frames: list[Frame], upto: int) -> None:
        self._frames += frames
        self._bytes += sum(len(each.data) for each in frames)
        self.upto = upto
        spare = 0
        while len(self._frames) - spare > RECENT or self._bytes > RECENT_BYTES:
            self._bytes -= len(self._frames[spare].data)
            self._floor = self._frames[spare].id
            spare += 1
        del self._frames[:spare]

    def after(self, after: int) -> Page | None:
        """What holds all that comes after the id; None when that is no longer kept."""
        return Page(self._frames, self.upto) if after >= self._floor else None


class History:
    """Pages of the history, read one at a time, with a pause in which the store is there for others. They
    begin at multiples of their size, so that readers who are near each other share them.
    """

    def __init__(self, read: Callable[[int], Awaitable[Page]], pause_s: float) -> None:
        """`read` gives the page of up to `PAGE` settled events after an id."""
        self._read = read
        self._pause_s = pause_s
        self._reading = asyncio.Lock()
        self._pages: OrderedDict[int, Page] = OrderedDict()

    async def after(self, after: int) -> Page:
        """A page that reaches beyond the id, of which it has everything that is settled."""
        begin = after - after % PAGE
        known = self._known(begin, after)
        if known is not None:
            return known
        async with self._reading:
            page = self._known(begin, after)
            if page is None:
                page = await self._read(begin)
                self._keep(begin, page)
                await asyncio.sleep(self._pause_s)
        return page

    def forget(self) -> None:
        self._pages.clear()

    def _known(self, begin: int, after: int) -> Page | None:
        page = self._pages.get(begin)
        if page is None or page.upto <= after:
            return None
        self._pages.move_to_end(begin)
        return page

    def _keep(self, begin: int, page: Page) -> None:
        self._pages[begin] = page
        self._pages.move_to_end(begin)
        while sum(_size(each) for each in self._pages.values()) > PAGES_BYTES and len(self._pages) > 1:
            self._pages.popitem(last=False)


def _size(page: Page) -> int:
    return sum(len(each.data) for each in page.frames)
