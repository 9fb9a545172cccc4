"""What /regions answered, as it is kept, on both databases."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexusd.core.recordings import RecordedAnswer, recordable
from nexusd.core.records import Region
from nexusd.store import region_history
from nexusd.store.region_history import _decoded, _encoded
from nexusd.store.schema import region_history as table
from nexusd.store.store import SqlStore

EAST = Region("us-east-1", "Virginia, US", "healthy", 12.5, capacity=True)
WEST = Region("eu-west-2", "London, UK", "degraded", None, capacity=False)
GAP_S = 45.0


async def record(store: SqlStore, at: float, *regions: Region) -> None:
    await store.run(lambda tx: tx.region_history.record(regions, at, GAP_S))


async def recorded(store: SqlStore, since: float = 0.0, until: float = 1e9) -> list[RecordedAnswer]:
    return await store.run(lambda tx: list(tx.region_history.between(since, until)))


async def test_an_answer_comes_back_by_slug_and_without_names(store: SqlStore) -> None:
    await record(store, 100.0, EAST, WEST)
    east = Region("us-east-1", "", "healthy", 12.5, capacity=True)
    west = Region("eu-west-2", "", "degraded", None, capacity=False)
    assert await recorded(store) == [RecordedAnswer(100.0, 100.0, (west, east))]


async def test_the_same_answer_again_is_one_row_that_lasts_longer(store: SqlStore) -> None:
    for at in (100.0, 115.0, 130.0):
        await record(store, at, EAST, WEST)
    await record(store, 145.0, WEST, EAST)
    assert await recorded(store) == [RecordedAnswer(100.0, 145.0, recordable([EAST, WEST]))]


@pytest.mark.parametrize(
    "other",
    [
        (EAST,),
        (EAST, Region("eu-west-2", "", "healthy", None, capacity=False)),
        (EAST, Region("eu-west-2", "", "degraded", 40.0, capacity=False)),
        (EAST, Region("eu-west-2", "", "degraded", None, capacity=True)),
    ],
    ids=["left", "status", "latency", "capacity"],
)
async def test_an_answer_that_differs_is_a_row_of_its_own(store: SqlStore, other: tuple[Region, ...]) -> None:
    await record(store, 100.0, EAST, WEST)
    await record(store, 115.0, *other)
    assert [(a.at, a.until) for a in await recorded(store)] == [(100.0, 100.0), (115.0, 115.0)]


@pytest.mark.parametrize("later", [100.0 + GAP_S + 1.0, 90.0], ids=["after an outage", "clock set back"])
async def test_an_answer_is_not_said_to_have_lasted_over_a_time_without_polls(
    store: SqlStore, later: float
) -> None:
    await record(store, 100.0, EAST)
    await record(store, later, EAST)
    assert [(a.at, a.until) for a in await recorded(store)] == [(100.0, 100.0), (later, later)]


async def test_a_window_has_the_answer_in_force_at_its_beginning_and_none_after_its_end(
    store: SqlStore,
) -> None:
    for n, at in enumerate((100.0, 130.0, 160.0, 190.0)):
        await record(store, at, Region("r", "", "healthy", float(n), capacity=True))
        await record(store, at + 10.0, Region("r", "", "healthy", float(n), capacity=True))
    assert [a.at for a in await recorded(store, 135.0, 189.0)] == [130.0, 160.0]


async def test_forgetting_stops_at_a_bound_and_keeps_what_was_given_since(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(region_history, "FORGET_AT_MOST", 2)
    for n in range(4):
        await record(store, 100.0 * n, Region("r", "", "healthy", float(n), capacity=True))
    await record(store, 330.0, Region("r", "", "healthy", 3.0, capacity=True))
    counts = [await store.run(lambda tx: tx.region_history.forget(320.0)) for _ in range(3)]
    assert counts == [2, 1, 0]
    assert [(a.at, a.until) for a in await recorded(store)] == [(300.0, 330.0)]


async def test_a_hundred_regions_take_about_a_kilobyte(store: SqlStore) -> None:
    regions = [Region(f"region-{n}", "", "healthy", 10.0 + n * 1.37, capacity=n % 7 > 0) for n in range(100)]
    await record(store, 100.0, *regions)
    length = await store.run(lambda tx: len(bytes(tx.session.rows(table.select())[0][3])))
    assert length < 1_500


NAMES = st.text(st.characters(codec="utf-8"), max_size=10)
REGIONS = st.builds(
    Region,
    slug=NAMES,
    status=NAMES,
    latency_ms=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    capacity=st.booleans(),
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(REGIONS, unique_by=lambda r: r.slug), st.randoms(use_true_random=False))
def test_any_answer_survives_and_its_order_does_not_matter(regions: list[Region], rng) -> None:
    shuffled = list(regions)
    rng.shuffle(shuffled)
    assert _encoded(shuffled) == _encoded(regions)
    assert _decoded(_encoded(regions)) == recordable(regions)
