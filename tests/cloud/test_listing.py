"""Listings told by their difference from the last are what all pages say; wrong short cuts are caught."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from nexusd.cloud import listing as listing_module
from nexusd.cloud.listing import Listing
from nexusd.cloud.pages import PageReader
from nexusd.cloud.stitch import Page, Run
from nexusd.cloud.sweep import sweep
from nexusd.core.errors import BadAnswerError
from nexusd.core.records import Instance
from tests.cloud.drifting import DriftingList
from tests.effort import examples

MOST = 1_000_000


@dataclass
class Source:
    """A drifting list read as the client reads it: as bytes, through the memory of pages.

    `plain` is what the pages of a sweep say, each read in the order in which it was answered.
    """

    size: int
    seed: int
    churn: float
    reader: PageReader = field(default_factory=PageReader)
    before: Listing | None = None
    renewals: int = 0

    def __post_init__(self) -> None:
        self.list = DriftingList(self.size, self.seed, self.churn, 10, pairs=self.seed % 2 == 0)
        self.random = random.Random(self.seed)

    async def read(self, offset: int, limit: int) -> Page:
        page = await self.list.read(offset, limit)
        meta = {"total": page.total, "limit": page.limit, "offset": page.offset}
        return self.reader.decode(msgspec.json.encode({"data": page.rows, "meta": meta}), offset)

    def change(self, share: float) -> None:
        """Some instances are now otherwise, and none comes or goes."""
        rows = self.list.rows
        for at in range(len(rows)):
            if self.random.random() < share:
                status = self.random.choice(("running", "stopped", "resizing"))
                rows[at] = msgspec.structs.replace(rows[at], status=status)

    async def sweep(self, concurrency: int) -> Listing | None:
        self.list.begin()
        try:
            found = await sweep(self.read, concurrency, MOST, self.before)
        except BadAnswerError:
            return None
        self.reader.swept()
        self.before = found.kept()
        self.renewals += found.renewal is not None
        return found


def by_reference(found: Listing) -> dict[str, Instance]:
    """Every row of every page, the last read of each id winning."""
    runs = sorted(found._runs, key=lambda run: run.number)
    return {row.id: row for run in runs for row in run.page.rows}


@dataclass(frozen=True)
class Case:
    size: int
    seed: int
    churn: float
    share: float
    concurrency: int

    async def wrong(self) -> str | None:
        """What is wrong with any of ten sweeps in a row, told by renewals where there are some."""
        source = Source(self.size, self.seed, self.churn)
        known: dict[str, Instance] = {}
        mark: object = None
        for _ in range(10):
            source.change(self.share)
            found = await source.sweep(self.concurrency)
            if found is None:
                continue
            truth = by_reference(found)
            if found.renewal is None or found.renewal.of is not mark:
                known = dict(found)
            else:
                known.update(found.renewal.records)
            mark = found.mark
            if known != truth or dict(found) != truth or len(found) != len(truth):
                return f"{known} is not {truth}"
        return None


cases = st.builds(
    Case,
    st.integers(0, 60),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.0, 0.02, 0.2]),
    st.sampled_from([0.0, 0.02, 0.3]),
    st.integers(1, 8),
)


@settings(max_examples=examples(150), deadline=None)
@given(cases)
def test_a_renewed_listing_is_what_all_its_pages_say(case: Case) -> None:
    assert asyncio.run(case.wrong()) is None


def _without_overlaps(self: Listing, runs: list[Run]) -> Listing | None:
    records: dict[str, Instance] = {}
    for before, now in zip(self._runs, runs, strict=True):
        if not listing_module._collect(before, now, records):
            return None
    return Listing(runs, None, self._size, listing_module.Renewal(self.mark, records))


def _trusting_totals(before: Run, now: Run, records: dict[str, Instance]) -> bool:
    records.update({r.id: r for old, r in zip(before.page.rows, now.page.rows, strict=False) if old is not r})
    return True


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        (Listing, "renewed", _without_overlaps),
        (listing_module, "_collect", _trusting_totals),
    ],
    ids=["overlaps are not looked at", "the ids are not compared"],
)
def test_a_broken_short_cut_is_caught(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, broken: Callable[..., object]
) -> None:
    monkeypatch.setattr(owner, name, broken)

    def wrong(case: Case) -> bool:
        try:
            return asyncio.run(case.wrong()) is not None
        except (ValueError, IndexError):
            return True

    quick = settings(
        max_examples=2000,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    assert find(cases, wrong, settings=quick)


async def test_a_quiet_fleet_is_renewed_and_nothing_is_looked_at() -> None:
    source = Source(60, 1, 0.0)
    await source.sweep(4)
    found = await source.sweep(4)
    assert found is not None
    assert found.renewal is not None
    assert found.renewal.records == {}


async def test_a_renewal_has_just_the_records_that_changed() -> None:
    source = Source(60, 1, 0.0)
    await source.sweep(4)
    changed = source.list.rows[17] = msgspec.structs.replace(source.list.rows[17], status="stopped")
    found = await source.sweep(4)
    assert found is not None
    assert found.renewal is not None
    assert found.renewal.records == {changed.id: changed}


async def test_an_instance_that_came_makes_a_listing_of_its_own() -> None:
    source = Source(60, 1, 0.0)
    await source.sweep(4)
    source.list.insert()
    found = await source.sweep(4)
    assert found is not None
    assert found.renewal is None
    assert len(found) == 61
