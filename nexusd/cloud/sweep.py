"""One complete reading of a list that changes while it is read, or nothing. Called by `client`.

**What is assumed.** One page is one moment: its rows stood next to each other at `offset`, in a list of
`total`. Instances may come and go anywhere between two pages, but those that stay keep their order among
themselves. Then there is one order of all instances that ever were, and each moment's list is in that order.

**Why a chain of runs misses nothing.** Let runs R0 … Rn start at the list's head and reach its end, each
sharing a row with the next: x1 is in R0 and R1, and so on. Take an instance y that was there all along, and
the first cut it does not come after, y ≤ x(i+1) (or the end). It comes after x(i). When Ri was read, x(i) and
x(i+1) were in it with everything between them, so y was in it. Nothing here depends on when, or in which
order, the runs were read: they may be read concurrently, and a run stays true of its moment for ever. Equal
totals alone prove nothing: one instance gone and another come cancel out, the rows between them move, and
one is skipped. That is what the shared rows are for.

**Why the count is true as well.** A run read early may hold an instance that is gone since, or lack one that
came. So the distinct ids must equal `meta.total` of the newest answer. `total` must also be the same on all
pages; where the list changed while it was read, pages read before say what was true then. Reading them all
again would need a list that keeps still for a whole sweep. Instead one page of each outdated total is read
again: it has to say the new total now, which shows that `total` changed with time and not with the page. An
API whose pages contradict each other never passes this.

**If the order changes** instead (and nothing comes or goes), what is missed elsewhere shows up as a repeated
id, and the count is short. Only a change of order that coincides with an arrival and a departure which
balance it can deceive; two sweeps in a row must miss an instance before anybody believes it.

**How it is mended.** Where neighbours share no row, something moved between them: half a page before the
boundary is read again, or the older of the two. Where the count is wrong, the change lies in a page read
before it. Pages of about one age are probed by halves: between two that have shifted by the same number of
rows nothing changed (or what did cancels out), between others something did. So a change costs a few pages,
not a new start, and drift of one change every ten pages still converges. All reading is on a budget; past
it the sweep is `partial`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable
from collections.abc import Set as AbstractSet

from nexusd.beside import Beside
from nexusd.cloud.listing import Listing
from nexusd.cloud.stitch import Page, Run, agree, fault, share_a_row, slide
from nexusd.core.errors import BadAnswerError
from nexusd.core.records import Instance

PAGE_SIZE = 100
"""The reference's maximum."""

ReadPage = Callable[[int, int], Awaitable[Page]]
"""`read_page(offset, limit)`; raises `ApiError`."""

_READS_PER_PAGE = 4
_READS_BESIDES = 60
_TRIES_OF_A_BAD_PAGE = 3
_RUNS_A_STEP = 50

beside = Beside(most_on_loop=500)
"""For steps that look at every page. Nothing is read meanwhile."""


async def sweep(
    read_page: ReadPage,
    concurrency: int,
    max_instances: int,
    before: Listing | None = None,
    page_size: int = PAGE_SIZE,
) -> Listing:
    """All instances by id. Raises `BadAnswerError` (`partial`), or what `read_page` raised.

    `before`: what the last sweep listed; the less has changed since, the less this one costs.
    """
    return await _Sweep(read_page, concurrency, max_instances, page_size).run(before)


class _Sweep:
    """The state of one sweep: the runs by offset, and what has been learnt about totals."""

    def __init__(self, read_page: ReadPage, concurrency: int, max_instances: int, page_size: int) -> None:
        self._read_page = read_page
        self._concurrency = concurrency
        self._max_instances = max_instances
        self._page_size = page_size
        self._budget = _READS_BESIDES
        self._reads = 0
        self._answers = 0
        self._runs: dict[int, Run] = {}
        self._grid: frozenset[int] = frozenset()
        self._total = -1
        self._epoch = 0
        self._totals_at: dict[int, set[int]] = {}
        self._outdated: dict[int, set[int]] = {}
        self._empty_seen = -1

    async def run(self, before: Listing | None) -> Listing:
        self._keep(await self._fetch(0))
        await self._read_all(self._plan())
        while True:
            mends = await beside(len(self._runs), self._mends)
            if mends:
                await self._read_all(mends)
                continue
            listing = await self._listing(before)
            if len(listing) != self._total:
                await self._search(listing.keys())
            elif doubtful := await beside(len(self._runs), self._doubtful):
                await self._read_all(doubtful)
            else:
                return _without_blank_id(listing)

    def _plan(self) -> list[int]:
        """The offsets of the other pages, each overlapping the one before by one row."""
        first = self._runs[0].page
        if first.total > self._max_instances:
            raise _partial(f"meta.total is {first.total}, more than the limit of {self._max_instances}")
        if first.reaches_end:
            return []
        if first.limit < 2:
            raise _partial("pages of one row leave no room for an overlap")
        offsets = list(range(first.limit - 1, first.total - 1, first.limit - 1))
        self._grid = frozenset((0, *offsets))
        self._budget += _READS_PER_PAGE * (len(offsets) + 1)
        return offsets

    # reading

    async def _read_all(self, offsets: Iterable[int]) -> None:
        wanted = list(offsets)
        queue = iter(wanted)

        async def work() -> None:
            for offset in queue:
                self._keep(await self._fetch(offset))

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(min(self._concurrency, len(wanted))):
                    group.create_task(work(), name=f"sweep-{number}")
        except BaseExceptionGroup as errors:
            first = errors.exceptions[0]
        else:
            return
        raise first

    def _keep(self, page: Page) -> None:
        """Let the page just read take the place of what was read there before."""
        if page.rows or page.offset == 0:
            self._runs[page.offset] = Run(self._answers, self._epoch, page)
        if not page.rows:
            self._drop_from(max(1, page.offset))

    def _drop_from(self, offset: int) -> None:
        """The list was found to end before `offset`: what was read there earlier is gone or has moved."""
        self._empty_seen = self._answers
        for later in [o for o in self._runs if o >= offset]:
            del self._runs[later]

    async def _fetch(self, offset: int) -> Page:
        """One answer that makes sense by itself."""
        wrong: str | None = None
        for _ in range(_TRIES_OF_A_BAD_PAGE):
            if self._reads >= self._budget:
                raise _partial(f"the list changes faster than it can be read ({self._reads} pages read)")
            self._reads += 1
            page = await self._read_page(offset, self._page_size)
            wrong = fault(page, offset, self._page_size)
            if wrong is None:
                self._learn(page)
                return page
        raise _partial(str(wrong))

    def _learn(self, page: Page) -> None:
        """Keep what is known about totals: the newest, how often it changed, which are outdated."""
        self._answers += 1
        if page.total != self._total:
            self._total = page.total
            self._epoch += 1
        earlier = self._totals_at.setdefault(page.offset, set())
        self._outdated.setdefault(page.total, set()).update(earlier)
        earlier.add(page.total)

    # the chain

    def _mends(self) -> list[int]:
        """The offsets to read so that the runs become a chain from head to end; empty when they are one."""
        offsets = sorted(self._runs)
        wanted = {
            self._between(self._runs[left], self._runs[right])
            for left, right in itertools.pairwise(offsets)
            if not agree(self._runs[left].page, self._runs[right].page)
        }
        last = self._runs[offsets[-1]]
        if not last.page.reaches_end:
            found_shorter = last.number < self._empty_seen
            wanted.add(last.page.offset if found_shorter else last.page.end - 1)
        return sorted(wanted)

    def _between(self, left: Run, right: Run) -> int:
        """What to read where these neighbours do not agree."""
        a, b = left.page, right.page
        if b.offset >= a.end:
            return a.end - 1
        middle = (a.offset + b.offset) // 2
        on_grid = a.offset in self._grid and b.offset in self._grid
        if on_grid and middle > a.offset and abs(a.total - b.total) < a.limit // 2 and not share_a_row(a, b):
            return middle
        return a.offset if left.number < right.number else b.offset

    # the count

    async def _listing(self, before: Listing | None) -> Listing:
        """What the runs list: what `before` does but for some records, or else all of it anew."""
        runs = [self._runs[offset] for offset in sorted(self._runs)]
        if before is not None and len(before) == self._total:
            renewed = await beside(len(self._runs), before.renewed, runs)
            if renewed is not None:
                return renewed
        return Listing.read(runs, await self._union())

    async def _union(self) -> dict[str, Instance]:
        """All instances of the runs by id, each as last read. Lets others run every few thousand rows."""
        instances: dict[str, Instance] = {}
        for number, run in enumerate(sorted(self._runs.values(), key=lambda run: run.number)):
            instances.update([(row.id, row) for row in run.page.rows])
            if number % _RUNS_A_STEP == _RUNS_A_STEP - 1:
                await asyncio.sleep(0)
        return instances

    def _doubtful(self) -> list[int]:
        """One offset for each total that is not the newest and was not yet seen to give way to it."""
        settled = {self._total} | self._outdated.get(self._total, set())
        found: dict[int, int] = {}
        for offset, run in sorted(self._runs.items()):
            if run.page.total not in settled:
                found.setdefault(run.page.total, offset)
        return list(found.values())

    async def _search(self, found: AbstractSet[str]) -> None:
        """Find a page that changed since it was read; failing that, read all pages again.

        Returns as soon as there is something new to judge. Pages read under one total are of about the same
        age; only among those does how far each has shifted say where the change is.
        """
        epoch = self._epoch
        groups: dict[int, list[int]] = {}
        for offset, run in sorted(self._runs.items()):
            if run.epoch < epoch:
                groups.setdefault(run.epoch, []).append(offset)
        for _, offsets in sorted(groups.items()):
            if await self._bisect(offsets) or self._epoch != epoch:
                return
        await self._read_all(sorted(self._runs, key=lambda offset: self._runs[offset].number))
        if self._epoch == epoch and (await self._union()).keys() == found and not self._mends():
            raise _partial(f"meta.total is {self._total}, but {len(found)} distinct ids are listed")

    async def _bisect(self, offsets: list[int]) -> bool:
        """Probe pages of one age where their shifts differ; whether one was found that changed."""
        epoch = self._epoch
        shifts: dict[int, int] = {}
        queue = [(0, len(offsets) - 1)]
        while queue:
            low, high = queue.pop()
            for index in (low, high):
                if index not in shifts:
                    shift = await self._probe(offsets[index])
                    if shift is None or self._epoch != epoch:
                        return True
                    shifts[index] = shift
            if high - low > 1 and shifts[low] != shifts[high]:
                middle = (low + high) // 2
                queue += [(low, middle), (middle, high)]
        return False

    async def _probe(self, offset: int) -> int | None:
        """Read a page again: by how many rows it has shifted, or None when it changed and was replaced.

        A page that merely shifted is kept as it was: it is as true of its moment and fits its neighbours.
        """
        before = self._runs[offset].page
        after = await self._fetch(offset)
        shift = slide(before, after)
        if not shift:
            self._keep(after)
        return shift


def _without_blank_id(listing: Listing) -> Listing:
    if listing.renewal is None and "" in listing:
        raise _partial("an instance has an empty id")
    return listing


def _partial(message: str) -> BadAnswerError:
    return BadAnswerError(f"GET /instances: {message}", "partial")
