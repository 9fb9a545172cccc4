"""`sweep` against lists that drift: what it claims is true, it converges, and naive paging fails the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd.cloud import sweep as sweep_module
from nexusd.cloud.stitch import Page
from nexusd.cloud.sweep import sweep
from nexusd.core.errors import BadAnswerError
from nexusd.core.records import Instance
from tests.cloud.drifting import DriftingList, naive_sweep
from tests.effort import examples

MOST = 1_000_000


async def _attempt(source: DriftingList, concurrency: int) -> dict[str, Instance] | None:
    try:
        return await sweep(source.read, concurrency, MOST)
    except BadAnswerError:
        return None


@settings(max_examples=examples(300), deadline=None)
@given(
    size=st.integers(0, 60),
    cap=st.integers(2, 12),
    churn=st.sampled_from([0.0, 0.05, 0.2, 0.6]),
    kind=st.sampled_from(["any", "pairs", "moves"]),
    concurrency=st.integers(1, 8),
    seed=st.integers(0, 2**32),
)
def test_what_a_sweep_claims_is_true_however_the_list_drifts(
    size: int, cap: int, churn: float, kind: str, concurrency: int, seed: int
) -> None:
    source = DriftingList(size, seed, churn, cap, pairs=kind == "pairs", moves=kind == "moves")
    found = asyncio.run(_attempt(source, concurrency))
    assert found is None or source.untrue(found) is None


async def _untrue(runs: int, churn: float, read: Callable[[DriftingList], object]) -> int:
    """How many of so many sweeps said something untrue, while instances are replaced one by one."""
    wrong = 0
    for seed in range(runs):
        source = DriftingList(60, seed, churn, 10, pairs=True)
        found = await read(source)  # type: ignore[misc]
        wrong += found is not None and source.untrue(found) is not None
    return wrong


async def test_naive_paging_says_untrue_things_about_the_same_lists() -> None:
    assert await _untrue(300, 0.2, naive_sweep) > 20
    assert await _untrue(300, 0.2, lambda source: _attempt(source, 8)) == 0


async def test_a_sweep_that_trusts_totals_without_shared_rows_says_untrue_things(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep_module, "agree", lambda left, right: True)
    assert await _untrue(1000, 0.4, lambda source: _attempt(source, 8)) > 0


@pytest.mark.slow
async def test_two_hundred_sweeps_of_5000_drifting_instances_are_true_and_nearly_all_complete() -> None:
    source = DriftingList(5000, seed=7, churn=0.04)
    complete = reads = 0
    for _ in range(200):
        source.begin()
        before = source.reads
        found = await _attempt(source, 8)
        reads += source.reads - before
        if found is not None:
            complete += 1
            assert source.untrue(found) is None
    assert complete >= 190
    assert reads < 200 * 51 * 1.6


class Scripted:
    """A list that changes when a given page is about to be read."""

    def __init__(self, size: int, cap: int = 10) -> None:
        self.list = DriftingList(size, 1, cap=cap, shuffled_reads=False)
        self.before: dict[int, Callable[[], None]] = {}
        self.offsets: list[int] = []

    async def read(self, offset: int, limit: int) -> Page:
        self.offsets.append(offset)
        self.before.pop(len(self.offsets), lambda: None)()
        return await self.list.read(offset, limit)


async def test_a_still_list_is_read_once_with_pages_that_overlap_by_one() -> None:
    source = Scripted(100)
    assert len(await sweep(source.read, 1, MOST)) == 100
    assert source.offsets == list(range(0, 99, 9))


async def test_a_row_that_slips_past_a_boundary_costs_a_page_and_not_a_new_start() -> None:
    source = Scripted(1000)
    source.before[50] = lambda: source.list.rows.__delitem__(0)
    found = await sweep(source.read, 1, MOST)
    assert set(found) >= {row.id for row in source.list.rows}
    assert len(source.offsets) < 111 + 15


async def test_an_arrival_in_pages_already_read_is_found_by_halves() -> None:
    source = Scripted(1000)
    new = Instance("new", "new", "pending", "us-east-1")
    source.before[80] = lambda: source.list.rows.insert(345, new)
    found = await sweep(source.read, 1, MOST)
    assert found.keys() == {row.id for row in source.list.rows}
    assert len(source.offsets) < 111 + 20


async def test_a_list_that_shrinks_to_nothing_is_empty_and_not_a_fault() -> None:
    source = Scripted(50)
    source.before[2] = source.list.rows.clear
    assert await sweep(source.read, 4, MOST) == {}


async def test_a_list_that_doubles_is_read_to_its_new_end() -> None:
    source = Scripted(50)
    more = [Instance(f"more-{n}", "", "running", "r") for n in range(50)]
    source.before[3] = lambda: source.list.rows.extend(more)
    assert len(await sweep(source.read, 4, MOST)) == 100


def _page(offset: int, rows: range, total: int, limit: int = 100) -> Page:
    return Page(offset, limit, total, tuple(Instance(f"i{n}", "", "running", "r") for n in rows))


async def _partial(read: Callable[[int, int], Page]) -> str:
    reads: list[int] = []

    async def read_page(offset: int, limit: int) -> Page:
        reads.append(offset)
        assert len(reads) < 500, "endless"
        return read(offset, limit)

    with pytest.raises(BadAnswerError) as caught:
        await sweep(read_page, 4, MOST)
    assert caught.value.reason == "partial"
    return str(caught.value)


async def test_a_total_that_depends_on_the_page_is_partial() -> None:
    def read(offset: int, limit: int) -> Page:
        return _page(offset, range(offset, min(250, offset + 100)), 251 if offset == 0 else 250)

    assert "GET /instances" in await _partial(read)


async def test_a_total_that_grows_with_every_answer_is_partial() -> None:
    totals = iter(range(250, 10_000))

    def read(offset: int, limit: int) -> Page:
        return _page(offset, range(offset, min(250, offset + 100)), next(totals))

    await _partial(read)


async def test_endless_pages_are_partial() -> None:
    await _partial(lambda offset, limit: _page(offset, range(offset, offset + 100), offset + 200))


async def test_an_empty_page_in_mid_list_is_partial() -> None:
    def read(offset: int, limit: int) -> Page:
        rows = range(0) if offset == 99 else range(offset, min(400, offset + 100))
        return _page(offset, rows, 400)

    assert "0 rows at offset 99" in await _partial(read)


async def test_a_page_over_the_limit_is_partial() -> None:
    assert "meta.limit is 200" in await _partial(lambda o, n: _page(o, range(200), 200, limit=200))


async def test_more_rows_than_the_page_holds_is_partial() -> None:
    assert "rows on a page" in await _partial(lambda o, n: _page(o, range(101), 101))


async def test_an_api_that_ignores_the_offset_is_partial() -> None:
    assert "meta.offset" in await _partial(lambda o, n: _page(0, range(100), 250))


async def test_a_wrong_total_of_a_still_list_is_partial() -> None:
    def read(offset: int, limit: int) -> Page:
        rows = [*range(offset, min(250, offset + 100))]
        page = _page(offset, range(offset, offset + len(rows)), 250)
        return Page(offset, 100, 250, tuple(r if r.id != "i7" else page.rows[0] for r in page.rows))

    assert "249 distinct ids" in await _partial(read)


async def test_more_instances_than_the_bound_are_refused_after_one_page() -> None:
    assert "more than the limit" in await _partial(lambda o, n: _page(o, range(100), 10**9))


async def test_an_id_listed_twice_counts_once() -> None:
    async def read(offset: int, limit: int) -> Page:
        page = _page(0, range(3), 3)
        return Page(0, 100, 3, (*page.rows, page.rows[1]))

    assert len(await sweep(read, 4, MOST)) == 3


async def test_an_empty_id_is_partial() -> None:
    page = Page(0, 100, 1, (Instance("", "", "running", "r"),))
    assert "empty id" in await _partial(lambda o, n: page)


async def test_the_newer_reading_of_a_row_counts() -> None:
    source = Scripted(19)

    def stop() -> None:
        source.list.rows[9] = Instance(source.list.rows[9].id, "", "stopped", "r")

    source.before[2] = stop
    found = await sweep(source.read, 1, MOST)
    assert found["inst_000009"].status == "stopped"
