"""Placements, attempts, decisions and idempotency keys, on both databases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nexusd.core.errors import ConflictError
from nexusd.core.fleets import TRIED_LOOKED_AT, FleetPlacements
from nexusd.core.lifecycle import CLOSED, OPEN, Attempt, Outcome, Placement, State
from nexusd.core.placement import Considered, Decision, PlacementRequest, Spread
from nexusd.core.records import Instance
from nexusd.store import placements as placements_module
from nexusd.store.store import SqlStore
from tests.store.conftest import Opener

FULL = PlacementRequest(
    name="web-1",
    plan="pro",
    image="debian",
    ssh_keys=("ssh-ed25519 AAAA", "ü"),
    regions=("eu-1", "us-1"),
    avoid_regions=("ap-1",),
    where="region.latency_ms < 80.0",
    spread=Spread("web", 2),
    priority=7,
    deadline=999.5,
    fleet="web",
)


def placement(key: str, name: str | None = None, **more: object) -> Placement:
    priority = more.pop("priority", 0)
    request = PlacementRequest(name or f"name-{key}", "pro", priority=priority)  # type: ignore[arg-type]
    made = Placement(key, request, State.QUEUED, 1.0, 1.0)
    return replace(made, **more)  # type: ignore[arg-type]


async def insert(store: SqlStore, *placements: Placement) -> None:
    def work(tx):
        for one in placements:
            tx.placements.insert(one)

    await store.run(work)


async def test_a_placement_comes_back_as_it_was_inserted(store: SqlStore) -> None:
    whole = Placement("plc_1", FULL, State.PROVISIONING, 1.5, 2.5, "because", "eu-1", "i-1", 3, 2.25)
    await insert(store, whole)
    assert await store.run(lambda tx: tx.placements.get("plc_1")) == whole
    assert await store.run(lambda tx: tx.placements.get("plc_2")) is None


async def test_an_accepted_placement_is_there_after_a_restart(opened: Opener) -> None:
    first = opened()
    await insert(first, placement("a"))
    await first.close()
    assert await opened().run(lambda tx: tx.queue.heads(placement("a").request.constraint_class, 5)) == [
        placement("a")
    ]


@pytest.mark.parametrize("state", sorted(OPEN))
async def test_an_open_name_belongs_to_one_placement(store: SqlStore, state: State) -> None:
    await insert(store, placement("a", "web", state=state))
    with pytest.raises(ConflictError, match="'web'"):
        await insert(store, placement("b", "web"))
    assert await store.run(lambda tx: tx.placements.get("b")) is None
    assert await store.run(lambda tx: tx.placements.open_name("web")) == placement("a", "web", state=state)


async def test_the_name_of_a_closed_placement_is_free(store: SqlStore) -> None:
    await insert(store, *(placement(f"c-{state}", "web", state=state) for state in CLOSED))
    assert await store.run(lambda tx: tx.placements.open_name("web")) is None
    await insert(store, placement("b", "web"))


async def test_a_refused_insert_leaves_the_rest_of_its_transaction_usable(store: SqlStore) -> None:
    await insert(store, placement("a", "web"))

    def work(tx):
        with pytest.raises(ConflictError):
            tx.placements.insert(placement("b", "web"))
        tx.placements.insert(placement("c", "other"))

    await store.run(work)
    assert await store.run(lambda tx: tx.placements.get("c")) is not None


async def test_an_update_happens_only_from_the_expected_state(store: SqlStore) -> None:
    await insert(store, placement("a"))
    creating = placement("a", state=State.CREATING, updated_at=5.0, region="eu-1", attempts=1)
    assert await store.run(lambda tx: tx.placements.update(creating, State.QUEUED)) is True
    cancelled = placement("a", state=State.CANCELLED, updated_at=6.0)
    assert await store.run(lambda tx: tx.placements.update(cancelled, State.QUEUED)) is False
    assert await store.run(lambda tx: tx.placements.get("a")) == creating


async def test_an_update_of_nothing_is_false(store: SqlStore) -> None:
    assert await store.run(lambda tx: tx.placements.update(placement("a"), State.QUEUED)) is False


async def test_the_queue_is_by_priority_then_age(store: SqlStore) -> None:
    await insert(
        store,
        placement("young", created_at=9.0),
        placement("old", created_at=1.0),
        placement("urgent", created_at=10.0, priority=5),
        placement("low", created_at=0.0, priority=-1),
        placement("busy", created_at=0.0, priority=9, state=State.CREATING),
    )
    kind = placement("any").request.constraint_class
    queue = await store.run(lambda tx: tx.queue.heads(kind, 10))
    assert [p.id for p in queue] == ["urgent", "old", "young", "low"]
    assert [p.id for p in await store.run(lambda tx: tx.queue.heads(kind, 2))] == ["urgent", "old"]


async def test_placements_in_states_are_oldest_first(store: SqlStore) -> None:
    await insert(
        store,
        placement("v", created_at=3.0, state=State.VERIFYING),
        placement("c", created_at=1.0, state=State.CREATING),
        placement("h", created_at=2.0, state=State.HELD),
        placement("q", created_at=0.0),
    )
    found = await store.run(
        lambda tx: tx.placements.in_states([State.VERIFYING, State.CREATING, State.CREATING])
    )
    assert [p.id for p in found] == ["c", "v"]
    assert await store.run(lambda tx: tx.placements.in_states([])) == []


def of_fleet(key: str, name: str, fleet: str | None = "web", **more: object) -> Placement:
    made = placement(key, name, **more)
    return replace(made, request=replace(made.request, fleet=fleet))


async def test_the_members_of_a_fleet_are_known_by_their_names_while_open(store: SqlStore) -> None:
    await insert(
        store,
        of_fleet("b", "web-bbbbb", created_at=2.0, state=State.CREATING),
        of_fleet("a", "web-aaaaa", created_at=1.0),
        of_fleet("by hand", "web-ccccc", None, created_at=3.0, state=State.HELD),
        of_fleet("closed", "web-ddddd", state=State.FAILED),
        of_fleet("another fleet", "web-eu-aaaaa", "web-eu"),
        of_fleet("no member", "web-aaaaaa", None),
    )
    assert [p.id for p in await store.run(lambda tx: tx.placements.members("web"))] == ["a", "b", "by hand"]
    assert [p.id for p in await store.run(lambda tx: tx.placements.members("web-eu"))] == ["another fleet"]


async def test_what_a_fleet_tried_is_newest_first_and_bounded(store: SqlStore) -> None:
    await insert(
        store,
        of_fleet("old", "web-aaaaa", state=State.RUNNING, updated_at=1.0),
        of_fleet("new", "web-bbbbb", state=State.FAILED, updated_at=3.0),
        of_fleet("middle", "web-ccccc", state=State.FAILED, updated_at=2.0),
        of_fleet("cancelled", "web-ddddd", state=State.CANCELLED, updated_at=9.0),
        of_fleet("open", "web-eeeee", updated_at=9.0),
        of_fleet("by hand", "web-fffff", None, state=State.FAILED, updated_at=9.0),
    )
    found = await store.run(lambda tx: tx.placements.of_fleets(["web", "db"], count_made=False))
    assert [p.id for p in found["web"].tried] == ["new", "middle", "old"]
    assert [p.id for p in found["web"].open] == ["open"]
    assert found["db"] == FleetPlacements([], [])
    await insert(
        store, *(of_fleet(f"n{n}", f"web-{n:05}", state=State.FAILED, updated_at=10.0) for n in range(50))
    )
    found = await store.run(lambda tx: tx.placements.of_fleets(["web"], count_made=False))
    assert len(found["web"].tried) == TRIED_LOOKED_AT


async def test_the_listed_instances_that_a_fleet_has_made_are_counted(store: SqlStore) -> None:
    await insert(
        store,
        of_fleet("lives", "web-aaaaa", state=State.RUNNING, instance_id="i-1"),
        of_fleet("stopped", "web-bbbbb", state=State.FAILED, instance_id="i-2"),
        of_fleet("over", "web-ccccc", state=State.RUNNING, instance_id="i-3"),
        of_fleet("gone", "web-ddddd", state=State.RUNNING, instance_id="i-4"),
        of_fleet("by hand", "web-eeeee", None, state=State.RUNNING, instance_id="i-5"),
        of_fleet("open", "web-fffff", state=State.PROVISIONING, instance_id="i-6"),
    )
    listed = [("i-1", "running"), ("i-2", "stopped"), ("i-3", "terminated"), ("i-5", "running")]
    await store.run(
        lambda tx: tx.instances.save([Instance(key, key, status, "eu-1") for key, status in listed], {}, ())
    )
    found = await store.run(lambda tx: tx.placements.of_fleets(["web", "db"], count_made=True))
    assert (found["web"].made, found["db"].made) == (2, 0)


async def test_a_closed_placement_and_its_plan_are_kept_while_its_instance_is_listed(
    store: SqlStore,
) -> None:
    await insert(
        store,
        placement("kept", "one", state=State.RUNNING, instance_id="i-1", updated_at=2.0),
        placement("forgotten", "two", state=State.RUNNING, instance_id="i-2", updated_at=2.0),
        placement("open", "three", state=State.PROVISIONING, instance_id="i-1"),
    )
    await store.run(lambda tx: tx.instances.save([Instance("i-1", "one", "running", "eu-1")], {}, ()))
    assert await store.run(lambda tx: tx.placements.forget_closed(5.0)) == 1
    plan = placement("kept", "one").request.plan
    assert await store.run(lambda tx: tx.placements.plans_of_instances(0.0)) == {"i-1": plan}
    assert await store.run(lambda tx: tx.placements.plans_of_instances(3.0)) == {}


async def test_what_is_queued_for_any_fleet_is_found(store: SqlStore) -> None:
    await insert(
        store,
        of_fleet("a", "web-aaaaa"),
        of_fleet("b", "db-aaaaa", "db"),
        of_fleet("c", "web-bbbbb", state=State.CREATING),
        of_fleet("d", "web-ccccc", None),
    )
    assert [p.id for p in await store.run(lambda tx: tx.placements.queued_for_fleets())] == ["a", "b"]


async def test_pages_are_newest_first_with_the_total(store: SqlStore) -> None:
    await insert(store, *(placement(f"p{n}", created_at=float(n)) for n in range(5)))
    await insert(store, placement("f", created_at=2.5, state=State.FAILED))
    page, total = await store.run(lambda tx: tx.placements.page(None, 3, 1))
    assert ([p.id for p in page], total) == (["p3", "f", "p2"], 6)
    page, total = await store.run(lambda tx: tx.placements.page(State.FAILED, 3, 0))
    assert ([p.id for p in page], total) == (["f"], 1)
    assert await store.run(lambda tx: tx.placements.page(State.HELD, 3, 0)) == ([], 0)


async def test_a_placement_is_found_by_its_name_and_by_the_beginning_of_its_id(store: SqlStore) -> None:
    await insert(store, placement("plc_a1", created_at=1.0), placement("plc_a2", created_at=2.0))
    await insert(store, placement("plc_B", created_at=3.0, state=State.FAILED))
    name = placement("plc_a2").request.name

    async def found(match: str, state: State | None = None, limit: int = 9) -> tuple[list[str], int]:
        rows, total = await store.run(lambda tx: tx.placements.find(match, state, limit, 0))
        return [row.id for row in rows], total

    assert await found("plc_a") == (["plc_a2", "plc_a1"], 2)
    assert await found("plc_a", limit=1) == (["plc_a2"], 2)
    assert await found("plc_a1") == (["plc_a1"], 1)
    assert await found("plc_b") == ([], 0)
    assert await found("plc", State.FAILED) == (["plc_B"], 1)
    assert await found(name) == (["plc_a2"], 1)
    assert await found(name[:-1]) == ([], 0)
    assert await found("%") == ([], 0)


async def test_those_that_ended_since_an_instant_are_found(store: SqlStore) -> None:
    await insert(store, *(placement(f"p{n}", state=State.FAILED, updated_at=float(n)) for n in range(4)))
    found, total = await store.run(lambda tx: tx.placements.ended_since(State.FAILED, 1.0, 9))
    assert ([p.id for p in found], total) == (["p3", "p2", "p1"], 3)
    found, total = await store.run(lambda tx: tx.placements.ended_since(State.FAILED, 1.0, 2))
    assert ([p.id for p in found], total) == (["p3", "p2"], 3)


async def test_placements_are_counted_by_state(store: SqlStore) -> None:
    await insert(store, placement("a"), placement("b"), placement("c", state=State.HELD))
    assert await store.run(lambda tx: tx.placements.counts()) == {State.QUEUED: 2, State.HELD: 1}
    assert await store.run(lambda tx: tx.placements.count(State.QUEUED)) == 2


async def test_attempts_are_kept_in_order_and_finished(store: SqlStore) -> None:
    first = Attempt("a", 1, "eu-1", 1.0, 11.0, 4, ("i-7", "i-8"))
    second = Attempt("a", 2, "us-1", 20.0, 30.0, 5)
    await insert(store, placement("a"))
    await store.run(lambda tx: (tx.placements.add_attempt(second), tx.placements.add_attempt(first)))
    done = replace(
        first,
        outcome=Outcome.REFUSED,
        detail="no capacity",
        kind="capacity",
        scope="region",
        code="NO_CAPACITY",
    )
    await store.run(lambda tx: tx.placements.finish_attempt(done))
    assert await store.run(lambda tx: tx.placements.attempts("a")) == [done, second]


async def test_of_the_decisions_that_found_no_region_the_newest_are_kept(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placements_module, "KEPT_WHILE_WAITING", 3)
    await insert(store, placement("a"), placement("b"))
    decided = [Decision(float(n), "eu-1" if n == 2 else None, "why", 1.0) for n in range(8)]

    def work(tx: Any) -> None:
        tx.placements.add_decision("b", decided[0])
        for each in decided:
            tx.placements.add_decision("a", each)

    await store.run(work)
    kept = await store.run(lambda tx: tx.placements.decisions("a"))
    assert [d.decided_at for d in kept] == [2.0, 5.0, 6.0, 7.0]
    assert len(await store.run(lambda tx: tx.placements.decisions("b"))) == 1


def tried(tx: Any, number: int, outcome: Outcome | None = Outcome.REFUSED) -> None:
    """As an intent is written, with a decision that found no region before it."""
    tx.placements.add_decision("a", Decision(number - 0.5, None, "cooling off", 1.0))
    tx.placements.add_decision("a", Decision(float(number), "eu-1", None, 1.0))
    tx.placements.add_attempt(Attempt("a", number, "eu-1", float(number), number + 1.0, 1, outcome=outcome))


async def test_a_region_that_refuses_for_weeks_leaves_the_first_and_the_newest_attempts(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placements_module, "FIRST_KEPT", 2)
    monkeypatch.setattr(placements_module, "NEWEST_KEPT", 3)
    await insert(store, placement("a"))
    for number in range(1, 12):
        await store.run(lambda tx, number=number: tried(tx, number))  # type: ignore[misc]
    kept = [1, 2, 9, 10, 11]
    assert [a.number for a in await store.run(lambda tx: tx.placements.attempts("a"))] == kept
    decisions = await store.run(lambda tx: tx.placements.decisions("a"))
    assert [d.decided_at for d in decisions if d.region] == kept
    assert len([d for d in decisions if d.region is None]) == 11


async def test_an_attempt_in_doubt_is_never_forgotten(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placements_module, "FIRST_KEPT", 1)
    monkeypatch.setattr(placements_module, "NEWEST_KEPT", 1)
    await insert(store, placement("a"))
    for number in range(1, 6):
        outcome = None if number == 3 else Outcome.REFUSED
        await store.run(lambda tx, n=number, o=outcome: tried(tx, n, o))  # type: ignore[misc]
    assert [a.number for a in await store.run(lambda tx: tx.placements.attempts("a"))] == [1, 3, 5]


async def test_decisions_come_back_whole_and_oldest_first(store: SqlStore) -> None:
    considered = (
        Considered("eu-1", eligible=True, rank=1, latency_ms=12.5, instances=3),
        Considered("us-1", eligible=False, rank=None, latency_ms=None, instances=0, reasons=("no capacity",)),
    )
    chosen = Decision(2.0, "eu-1", None, 1.5, considered)
    none = Decision(1.0, None, "no region data yet", None)
    await insert(store, placement("a"))
    await store.run(
        lambda tx: (tx.placements.add_decision("a", none), tx.placements.add_decision("a", chosen))
    )
    assert await store.run(lambda tx: tx.placements.decisions("a")) == [none, chosen]


async def test_old_keys_are_forgotten_within_a_bound(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placements_module, "FORGET_AT_MOST", 2)
    await store.run(lambda tx: [tx.placements.claim_key(f"k{n}", "d", "a", float(n)) for n in range(5)])
    assert [await store.run(lambda tx: tx.placements.forget_keys(3.0)) for _ in range(3)] == [2, 1, 0]
    assert await store.run(lambda tx: tx.placements.idempotent("k2")) is None
    assert await store.run(lambda tx: tx.placements.idempotent("k3")) == ("d", "a")


async def test_forgetting_closed_placements_takes_what_belongs_to_them_and_no_open_one(
    store: SqlStore,
) -> None:
    await insert(
        store,
        placement("old", state=State.FAILED, updated_at=1.0),
        placement("new", state=State.FAILED, updated_at=9.0),
        placement("open", updated_at=1.0),
    )
    await store.run(lambda tx: tx.placements.add_attempt(Attempt("old", 1, "eu-1", 1.0, 2.0, 1)))
    await store.run(lambda tx: tx.placements.add_decision("old", Decision(1.0, "eu-1", None, 1.0)))
    assert await store.run(lambda tx: tx.placements.forget_closed(5.0)) == 1
    assert await store.run(lambda tx: tx.placements.get("old")) is None
    assert await store.run(lambda tx: tx.placements.attempts("old")) == []
    assert await store.run(lambda tx: tx.placements.decisions("old")) == []
    assert {p.id for p in (await store.run(lambda tx: tx.placements.page(None, 5, 0)))[0]} == {"new", "open"}


async def test_a_placement_outlives_its_idempotency_key(store: SqlStore) -> None:
    await insert(store, placement("a", state=State.FAILED), placement("b", state=State.FAILED))
    await store.run(lambda tx: tx.placements.claim_key("k", "digest", "a", 7.0))
    assert await store.run(lambda tx: tx.placements.forget_closed(5.0)) == 1
    assert await store.run(lambda tx: tx.placements.get("a")) is not None
    assert await store.run(lambda tx: (tx.placements.forget_keys(8.0), tx.placements.forget_closed(5.0))) == (
        1,
        1,
    )


async def test_those_of_a_spread_group_closed_long_ago_are_counted_by_their_instances(
    store: SqlStore,
) -> None:
    def member(key: str, name: str, region: str | None, **more: object) -> Placement:
        request = PlacementRequest(name, "pro", spread=Spread("web", 1))
        return replace(Placement(key, request, State.RUNNING, 1.0, 1.0, region=region), **more)  # type: ignore[arg-type]

    await insert(
        store,
        member("a", "one", "eu-1", instance_id="i-1"),
        member("b", "two", "eu-1", instance_id="i-2", state=State.FAILED),
        member("c", "gone", "eu-1", instance_id="i-8"),
        member("d", "ended", "us-1", instance_id="i-3"),
        member("e", "web-aaaaa", "us-1", instance_id="i-4"),
        member("f", "db-aaaaa", "us-1", instance_id="i-5"),
        member("g", "new", "us-1", instance_id="i-9", updated_at=7.0),
        member("h", "doubtful", "us-1", state=State.HELD),
        member("i", "waiting", None, state=State.QUEUED),
        placement("j", region="us-1", state=State.RUNNING, instance_id="i-6"),
    )
    listed = [Instance(f"i-{n}", str(n), "terminated" if n == 3 else "stopped", "eu-1") for n in range(1, 7)]
    await store.run(lambda tx: tx.instances.save(listed, {}, ()))
    group = await store.run(lambda tx: tx.placements.group("web", ["web"], 5.0))
    assert group.settled == {"eu-1": 2, "us-1": 1}
    assert {m.name for m in group.members} == {"new", "doubtful"}
    assert (await store.run(lambda tx: tx.placements.group("web", [], 5.0))).settled == {"eu-1": 2, "us-1": 2}
