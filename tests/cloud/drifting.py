"""A list of instances that changes while it is read, and what a sweep may say about it."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from nexusd.cloud.stitch import Page
from nexusd.core.records import Instance


@dataclass
class DriftingList:
    """Instances come and go with probability `churn` around each page that is read.

    `pairs`: one comes whenever one goes, so that `total` stays. `moves`: instead of coming and going,
    instances change places. `ever`, `always`: the ids that were there at any time, and at all times, since
    the sweep began; `sizes`: every size the list had.
    """

    size: int
    seed: int
    churn: float = 0.0
    cap: int = 100
    pairs: bool = False
    moves: bool = False
    shuffled_reads: bool = True
    reads: int = 0
    rows: list[Instance] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._ids = itertools.count()
        self.rows = [self._new() for _ in range(self.size)]
        self.begin()

    def begin(self) -> None:
        """Forget what was: a new sweep begins."""
        self.ever = {row.id for row in self.rows}
        self.always = set(self.ever)
        self.sizes = {len(self.rows)}

    async def read(self, offset: int, limit: int) -> Page:
        """ReadPage. Each answer is one moment; what overlaps in time is served in any order."""
        self.reads += 1
        await self._pause()
        self._drift()
        limit = min(limit, self.cap)
        page = Page(offset, limit, len(self.rows), tuple(self.rows[offset : offset + limit]))
        self._drift()
        await self._pause()
        return page

    def untrue(self, found: Mapping[str, Instance]) -> str | None:
        """What is wrong with this answer of a sweep, or None."""
        if missing := self.always - found.keys():
            return f"misses {sorted(missing)} that were there all along"
        if invented := found.keys() - self.ever:
            return f"has {sorted(invented)} that never were"
        if len(found) not in self.sizes:
            return f"counts {len(found)}, which the list never had"
        return None

    async def _pause(self) -> None:
        if self.shuffled_reads:
            for _ in range(self.random.randrange(4)):
                await asyncio.sleep(0)

    def _drift(self) -> None:
        if self.random.random() >= self.churn / 2:
            return
        if self.moves:
            self._move()
        elif self.pairs:
            self.delete()
            self.insert()
        elif self.rows and self.random.random() < 0.5:
            self.delete()
        else:
            self.insert()

    def insert(self) -> None:
        new = self._new()
        self.rows.insert(self.random.randint(0, len(self.rows)), new)
        self.ever.add(new.id)
        self.sizes.add(len(self.rows))

    def delete(self) -> None:
        if self.rows:
            gone = self.rows.pop(self.random.randrange(len(self.rows)))
            self.always.discard(gone.id)
            self.sizes.add(len(self.rows))

    def _move(self) -> None:
        if self.rows:
            row = self.rows.pop(self.random.randrange(len(self.rows)))
            self.rows.insert(self.random.randint(0, len(self.rows)), row)

    def _new(self) -> Instance:
        number = next(self._ids)
        return Instance(f"inst_{number:06d}", f"worker-{number}", "running", "us-east-1")


async def naive_sweep(source: DriftingList) -> dict[str, Instance] | None:
    """Plain paging by offset that trusts `total` alone: the broken variant. None: it gave up."""
    first = await source.read(0, 100)
    pages = [first]
    for offset in range(first.limit, first.total, first.limit):
        pages.append(await source.read(offset, 100))
    found = {row.id: row for page in pages for row in page.rows}
    unchanged = {page.total for page in pages} == {len(found)}
    return found if unchanged else None
