"""The live stream of events: one task reads them from the store, any number of readers follow.

A reader holds no queue: it has the id it was last given, and takes the next piece from what all share. That
is the newest events, kept here, and for those who resume further back, pages of the history, read one at a
time and shared, too. So a reader costs the same whether it keeps up or not, and the store sees one query for
all that are live. Built by `engine`, which runs `EventStream.run`; read by `streaming`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from nexusd.core.errors import StoreUnavailableError
from nexusd.core.events import Event
from nexusd.core.settling import NOBODY, Doubt, Settled, newest, number
from nexusd.ports import Clock, Store, Transaction
from nexusd.web.frames import PAGE, RECENT, Frame, History, Page, Recent, frame, piece_of
from nexusd.web.metrics import MetricsRegistry
from nexusd.web.shapes import Shaper
from nexusd.web.tallies import within

log = structlog.get_logger(__name__)
T = TypeVar("T")

WOKEN_TOGETHER = 10
"""Readers woken before everybody else has a turn again, so that a thousand of them delay no scrape."""
CLOCKS_APART_S = 300.0
"""How much earlier than a replica's another's clock may be: ids need not be in the order of their times."""


MAX_READERS = 2_000
REFUSAL_LOGGED_EVERY_S = 60.0
EVENT_READERS = "event_readers"
"""The reason under which refused readers are counted."""


def max_readers(connections: int) -> int:
    """Return the maximum number of event readers for a limit of connections.

    Other clients need connections, too.
    """
    return min(MAX_READERS, max(1, connections * 3 // 4))


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Durations in seconds. `poll_s`: how often the store is asked for what another replica wrote.

    `doubt_s`: how often while an id is missing. `gather_s`: what happens so soon after something was told is
    told together; with many readers after `gather_a_reader_s` for each, so that they cost a part of one core.
    `page_pause_s`: between two pages of the history. `slow_after_s`: who takes nothing so long is dropped.
    """

    poll_s: float = 1.0
    doubt_s: float = 0.05
    gather_s: float = 0.05
    gather_a_reader_s: float = 0.0005
    page_pause_s: float = 0.02
    keepalive_s: float = 4.0
    slow_after_s: float = 10.0
    store_timeout_s: float = 5.0
    max_readers: int = MAX_READERS


class StreamEndedError(Exception):
    """There is no stream now: the daemon stops, or reads its configuration again."""


class StreamFullError(Exception):
    """As many readers as there may be."""


@dataclass(eq=False, slots=True)
class Reader:
    """`after`: the last id it was given. `at`: nothing earlier is for it. `leave`: cuts its connection."""

    leave: Callable[[], None]
    after: int = 0
    at: float | None = None
    sending: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)


class EventStream:
    """Reads nothing while nobody follows."""

    def __init__(self, store: Store, clock: Clock, metrics: MetricsRegistry, options: StreamOptions) -> None:
        self.options = options
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._readers: set[Reader] = set()
        self._recent = Recent()
        self._history = History(self._read_page, options.page_pause_s)
        self._doubt: Doubt | None = None
        self._begun = asyncio.Event()
        self._woken = asyncio.Event()
        self._wanted = asyncio.Event()
        self._failing = False
        self._refused = 0
        self._refusal_logged_at: float | None = None
        self.ended = False

    @property
    def followed(self) -> bool:
        """Whether anybody reads."""
        return bool(self._readers)

    def wake(self) -> None:
        """Events were committed here."""
        self._woken.set()

    async def run(self) -> None:
        """For ever. Cancelled, it ends the stream for everybody at once."""
        try:
            while True:
                await self._wanted.wait()
                await self._follow()
        finally:
            self._end()

    @asynccontextmanager
    async def reader(
        self, leave: Callable[[], None], after: int | None, at: float | None
    ) -> AsyncIterator[Reader]:
        """One more reader: from after the id or from the instant on, else from now on.

        Raises `StreamFullError`, `StreamEndedError` and `StoreUnavailableError`.
        """
        if self.ended:
            raise StreamEndedError
        if len(self._readers) >= self.options.max_readers:
            self._count_refused()
            raise StreamFullError
        reader = Reader(leave, at=at)
        self._readers.add(reader)
        self._wanted.set()
        try:
            await self._wait_begun()
            reader.after = await self._position(after, at)
            yield reader
        finally:
            self._readers.discard(reader)

    def _count_refused(self) -> None:
        """Count a refused reader, and log the sum once a minute."""
        self._metrics.connection_shed(EVENT_READERS)
        self._refused += 1
        now = self._clock.now()
        if self._refusal_logged_at is None or now - self._refusal_logged_at >= REFUSAL_LOGGED_EVERY_S:
            self._refusal_logged_at = now
            log.warning(
                "event_readers_limited",
                limit=self.options.max_readers,
                refused=self._refused,
                hint="find the clients that follow the events (`nexusd events --follow`, the page)",
            )

    async def piece(self, reader: Reader) -> bytes:
        """What comes next for the reader; empty when it has all there is. Raises `StoreUnavailableError`."""
        while not self.ended and reader.after < self._recent.upto:
            page = self._recent.after(reader.after) or await self._history.after(reader.after)
            taken, reader.after = piece_of(page, reader.after, reader.at)
            if taken:
                return taken
        return b""

    async def news(self, reader: Reader) -> bool:
        """Wait for more; False when a heartbeat is due instead."""
        try:
            async with asyncio.timeout(self.options.keepalive_s):
                await reader.news.wait()
        except TimeoutError:
            return False
        reader.news.clear()
        return True

    async def _wait_begun(self) -> None:
        try:
            async with asyncio.timeout(self.options.store_timeout_s):
                await self._begun.wait()
        except TimeoutError as error:
            raise StoreUnavailableError("the store did not answer in time") from error
        if self.ended:
            raise StreamEndedError

    async def _position(self, after: int | None, at: float | None) -> int:
        upto = self._recent.upto
        if after is not None and after > upto:
            return await self._ahead(after)
        if after is not None or at is None:
            return upto if after is None else after
        earlier = at - CLOCKS_APART_S
        found = await self._ask(lambda tx: tx.events.since(None, earlier, 1))
        return min(upto, number(found[0]) - 1) if found else upto

    async def _ahead(self, after: int) -> int:
        """An id that is not settled here: another replica's reader has it already, or it is of another store,
        as after one was restored from a backup. Then nothing would ever come after it: begin from now on.
        """
        found = await self._ask(lambda tx: tx.events.since(None, None, 1))
        return after if newest(found, 0) >= after else self._recent.upto

    async def _follow(self) -> None:
        """Until nobody reads any more."""
        while self.followed:
            try:
                if not self._begun.is_set():
                    await self._begin()
                pause_s = self._pause_after(await self._read_on())
                self._failing = False
            except StoreUnavailableError as error:
                if not self._failing:
                    log.warning("store_unavailable", waiting="event stream", error=str(error))
                self._failing = True
                pause_s = self.options.poll_s
            await self._pause(pause_s)
        self._begun.clear()
        self._wanted.clear()
        self._recent, self._doubt = Recent(), None
        self._history.forget()

    def _pause_after(self, read: Settled) -> float:
        if read.more:
            return 0.0
        return self.options.doubt_s if read.doubt is not None else self.options.poll_s

    async def _begin(self) -> None:
        """From the newest events there are, once whoever writes now has ended: all before them is settled."""

        def transaction(tx: Transaction) -> tuple[list[Event], frozenset[str]]:
            return tx.events.since(None, None, RECENT), tx.events.writers()

        found, writers = await self._ask(transaction)
        doubt = Doubt(newest(found, 0), writers, self._clock.now())
        while writers:
            await asyncio.sleep(self.options.doubt_s)
            writers = doubt.left(await self._ask(lambda tx: tx.events.writers()), self._clock.now())
        self._recent = Recent(number(found[0]) - 1 if found else 0)
        self._doubt = Doubt(doubt.upto, NOBODY, doubt.since)
        while (await self._read_on()).more:
            pass
        self._begun.set()

    async def _read_on(self) -> Settled:
        """Take in what was settled since the last time."""
        self._woken.clear()
        after, doubt, now = self._recent.upto, self._doubt, self._clock.now()
        read = await self._ask(lambda tx: tx.events.settled(after, doubt, PAGE, now))
        self._doubt = read.doubt
        self._recent.add(self._frames(read.events), read.upto)
        if read.events:
            await self._tell()
        return read

    async def _tell(self) -> None:
        for count, reader in enumerate(tuple(self._readers), 1):
            reader.news.set()
            if count % WOKEN_TOGETHER == 0:
                await asyncio.sleep(0)

    async def _pause(self, seconds: float) -> None:
        """A commit ends it, once events had their time to gather."""
        options = self.options
        gather_s = min(seconds, max(options.gather_s, len(self._readers) * options.gather_a_reader_s))
        await asyncio.sleep(gather_s)
        try:
            async with asyncio.timeout(seconds - gather_s):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _read_page(self, after: int) -> Page:
        upto = self._recent.upto
        found = await self._ask(lambda tx: tx.events.since(after, None, PAGE))
        settled = [event for event in found if number(event) <= upto]
        return Page(self._frames(settled), newest(settled, upto) if len(settled) == PAGE else upto)

    async def _ask(self, transaction: Callable[[Transaction], T]) -> T:
        return await within(self.options.store_timeout_s, self._store.run(transaction))

    def _frames(self, events: Iterable[Event]) -> list[Frame]:
        shaper = Shaper(self._clock.now(), self._clock.utc_offset_s())
        return [frame(event, shaper) for event in events]

    def _end(self) -> None:
        self.ended = True
        self._begun.set()
        for reader in self._readers:
            reader.news.set()
            if reader.sending:
                reader.leave()
