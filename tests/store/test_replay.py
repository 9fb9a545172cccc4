"""`nexusd replay` on both databases, beside the store of a daemon that leads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from nexusd import cli
from nexusd.core.lifecycle import Placement, State
from nexusd.core.placement import Considered, Decision, PlacementRequest
from nexusd.core.records import Region
from nexusd.core.replay import Choice, Past
from nexusd.store.past import placed_between
from nexusd.store.reading import read_store
from nexusd.store.store import SqlStore

NOW = 1_800_000_000.0
"""Instants are told from here, and `replay` is told to look no further."""

Replay = Callable[..., dict[str, Any]]


def time(ago_s: float) -> str:
    return datetime.fromtimestamp(NOW - ago_s, UTC).isoformat()


def region(slug: str, latency_ms: float) -> Region:
    return Region(slug, "", "healthy", latency_ms, capacity=True)


def decision(ago_s: float, chosen: str | None, latency_ms: float = 10.0) -> Decision:
    reason = None if chosen else "no region is eligible: no capacity (1)"
    regions = (
        Considered("east", chosen == "east", 1 if chosen == "east" else None, latency_ms, 3),
        Considered("west", chosen == "west", 1 if chosen == "west" else None, 20.0, 4, ("no capacity",)),
    )
    return Decision(NOW - ago_s, chosen, reason, NOW - ago_s - 1.0, regions)


async def put(store: SqlStore, key: str, ago_s: float, *decisions: Decision, **more: object) -> Placement:
    at = NOW - ago_s
    made = Placement(f"plc_{key}", PlacementRequest(key, "pro"), State.QUEUED, at, at)
    made = replace(made, **more)  # type: ignore[arg-type]

    def work(tx: Any) -> None:
        tx.placements.insert(made)
        for each in decisions:
            tx.placements.add_decision(made.id, each)

    await store.run(work)
    return made


async def answer(store: SqlStore, ago_s: float, *regions: Region) -> None:
    await store.run(lambda tx: tx.region_history.record(regions, NOW - ago_s, 45.0))


@pytest.fixture
def replay(url: str, capsys: pytest.CaptureFixture[str]) -> Replay:
    def run(*options: str) -> dict[str, Any]:
        window = ["--since", time(600.0), "--until", time(0.0)]
        code = cli.invoke(["replay", "--store", url, "-o", "json", *window, *options])
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        found: dict[str, Any] = json.loads(out)
        return found

    return run


async def test_placements_are_recalled_oldest_first_with_their_last_choice(store: SqlStore, url: str) -> None:
    later = await put(store, "later", 100.0, decision(99.0, None), decision(50.0, "east", 12.5))
    failed_over = await put(store, "over", 200.0, decision(190.0, "west"), decision(180.0, "east"))
    waiting = await put(store, "waiting", 70.0, decision(69.0, None), reason="no region is eligible")
    await put(store, "too-old", 9000.0, decision(8000.0, "east"))
    found = read_store(url, lambda tx: placed_between(tx.session, NOW - 1000.0, NOW, 10))
    counts = {"east": 3, "west": 4}
    assert found == [
        Past(NOW - 180.0, failed_over.request, "plc_over", Choice("east", 10.0), counts),
        Past(NOW - 70.0, waiting.request, "plc_waiting", Choice(None, reason="no region is eligible")),
        Past(NOW - 50.0, later.request, "plc_later", Choice("east", 12.5), counts),
    ]


async def test_the_newest_are_kept_when_there_are_more_than_can_be_replayed(
    store: SqlStore, url: str
) -> None:
    for n in range(5):
        await put(store, f"p{n}", 100.0 - n, decision(100.0 - n, "east"))
    found = read_store(url, lambda tx: placed_between(tx.session, NOW - 1000.0, NOW, 2))
    assert [past.placement_id for past in found] == ["plc_p3", "plc_p4"]


async def test_what_is_outside_the_window_is_left_out(store: SqlStore, url: str) -> None:
    await put(store, "before", 300.0, decision(290.0, "east"))
    await put(store, "inside", 300.0, decision(200.0, "east"))
    await put(store, "after", 300.0, decision(100.0, "east"))
    found = read_store(url, lambda tx: placed_between(tx.session, NOW - 250.0, NOW - 150.0, 10))
    assert [past.placement_id for past in found] == ["plc_inside"]


async def test_actual_configured_and_changed_stand_side_by_side(store: SqlStore, replay: Replay) -> None:
    await answer(store, 130.0, region("east", 10.0), region("west", 20.0))
    await put(store, "w1", 110.0, decision(100.0, "west"))
    found = replay("--avoid-regions", "east")
    [row] = found["rows"]
    assert (row["placement_id"], row["name"], row["differs"]) == ("plc_w1", "w1", True)
    assert row["actual"] == {"region": "west", "latency_ms": 20.0, "reason": None}
    assert row["configured"] == {"region": "east", "latency_ms": 10.0, "reason": None}
    assert row["changed"] == {"region": "west", "latency_ms": 20.0, "reason": None}
    assert found["differ"] == 1
    assert [found["policies"][name]["mean_ms"] for name in ("actual", "configured", "changed")] == [
        20.0,
        10.0,
        20.0,
    ]


async def test_without_placements_a_request_is_decided_every_minute(store: SqlStore, replay: Replay) -> None:
    for ago_s in range(600, 0, -30):
        await answer(store, float(ago_s), region("east", 10.0), region("west", 20.0))
    found = replay()
    assert found["every_s"] == 60.0
    assert len(found["rows"]) == 11
    assert {row["configured"]["region"] for row in found["rows"]} == {"east"}
    assert "actual" not in found["policies"]


async def test_every_takes_the_place_of_placements(store: SqlStore, replay: Replay) -> None:
    await answer(store, 130.0, region("east", 10.0))
    await put(store, "w1", 110.0, decision(100.0, "east"))
    found = replay("--every", "10s")
    assert found["every_s"] == 10.0
    assert {row["placement_id"] for row in found["rows"]} == {None}


async def test_a_cap_moves_what_is_over_it(store: SqlStore, replay: Replay) -> None:
    await answer(store, 130.0, region("east", 10.0), region("west", 20.0))
    await put(store, "w1", 110.0, decision(100.0, "east"))
    found = replay("--max-per-region", "3")
    assert found["rows"][0]["changed"]["region"] is None  # west has four, as the decision tells
    assert "at most 3 are allowed per region" in found["rows"][0]["changed"]["reason"]


async def test_smoothing_keeps_a_region_through_a_spike_also_when_it_begins_before_the_window(
    store: SqlStore, replay: Replay
) -> None:
    for ago_s in range(900, 90, -15):
        await answer(store, float(ago_s), region("east", 10.0), region("west", 20.0))
    await answer(store, 85.0, region("east", 30.0), region("west", 20.0))
    await put(store, "w1", 81.0, decision(80.0, "west"))
    row = replay("--smoothing", "5m", "--since", time(88.0))["rows"][0]
    assert (row["configured"]["region"], row["changed"]["region"]) == ("west", "east")
    assert row["changed"]["latency_ms"] == 30.0


async def test_the_margin_keeps_the_region_chosen_last(store: SqlStore, replay: Replay) -> None:
    await answer(store, 130.0, region("east", 10.0), region("west", 20.0))
    await answer(store, 100.0, region("east", 10.0), region("west", 8.0))
    await put(store, "w1", 121.0, decision(120.0, "east"))
    await put(store, "w2", 91.0, decision(90.0, "west"))
    found = replay("--switch-margin", "5ms")
    assert [row["changed"]["region"] for row in found["rows"]] == ["east", "east"]
    assert [found["policies"][name]["switches"] for name in ("configured", "changed")] == [1, 0]


async def test_replaying_leaves_the_daemon_its_lease_and_writes_nothing(
    store: SqlStore, replay: Replay
) -> None:
    await answer(store, 130.0, region("east", 10.0))
    before = await store.run(_everything)
    replay()
    assert await store.run(_everything) == before
    await store.run_leading(lambda tx: tx.instances.observed(1.0))


def _everything(tx: Any) -> dict[str, list[Any]]:
    from nexusd.store.schema import metadata

    return {t.name: sorted(map(repr, tx.session.rows(t.select()))) for t in metadata.sorted_tables}
