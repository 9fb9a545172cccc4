"""Placing, in virtual time: the real worker and store against a cloud in memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from nexusd.core.answers import Created
from nexusd.core.errors import ConflictError, InputError, StoreUnavailableError, UnavailableError
from nexusd.core.inventory import Inventory
from nexusd.core.lifecycle import Outcome, State
from nexusd.core.placement import PlacementRequest
from nexusd.core.polls import INSTANCES, REGIONS
from nexusd.core.records import Instance
from nexusd.ports import MAX_SLEW, IdempotencyKey
from nexusd.provisioning.following import FollowOptions
from tests.fakes import LOST, NEVER_ARRIVED, NOT_SENT, WITHOUT_ID, Create, FakeCloudApi, refusal
from tests.provisioning.site import EAST, OPTIONS, SETTLE_S, WEST, site
from tests.virtual_time import VirtualClock, in_virtual_time


@in_virtual_time
async def test_a_placement_goes_to_the_nearest_region_and_is_followed_until_it_runs(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        accepted = await here.place()
        placement = await here.until(accepted, State.PROVISIONING)
        assert placement.region == "us-east-1"
        assert placement.instance_id is not None
        here.cloud.change(placement.instance_id, status="running")
        await here.until(accepted, State.RUNNING, within_s=30.0)
        assert len(here.cloud.requests) == 1
        assert await here.outcomes(accepted) == [("us-east-1", Outcome.CREATED)]


@in_virtual_time
async def test_what_is_created_is_followed_from_when_it_is_told(tmp_path: Path) -> None:
    """Else the sweep that follows at once is over before, and the next comes an interval later."""
    async with site(tmp_path) as here:
        await here.until(await here.place(), State.PROVISIONING)
        told = [
            following
            for events, following in here.told
            for e in events
            if e.detail.get("to") == "provisioning"
        ]
        assert told == [True]


@pytest.mark.parametrize(
    "create",
    [LOST, Create(LOST.answer, listed_after_s=SETTLE_S - 1), WITHOUT_ID],
    ids=["answer lost", "answer lost and listed late", "answer without id"],
)
def test_a_lost_create_is_adopted_and_never_repeated(create: Create, tmp_path: Path) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with site(tmp_path) as here:
            here.cloud.script_creates(create)
            accepted = await here.place()
            placement = await here.until(accepted, State.PROVISIONING)
            while placement.instance_id is None:
                await asyncio.sleep(1.0)
                placement = await here.placement(accepted)
            await asyncio.sleep(2 * SETTLE_S)
            [made] = here.cloud.existing("worker-01")
            assert placement.instance_id == made.id
            assert len(here.cloud.requests) == 1

    scenario()


@in_virtual_time
async def test_what_is_proven_absent_is_tried_in_the_next_region_and_not_before(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.script_creates(NEVER_ARRIVED)
        accepted = await here.place()
        await here.until(accepted, State.VERIFYING)
        await asyncio.sleep(SETTLE_S)
        assert len(here.cloud.requests) == 1
        placement = await here.until(accepted, State.PROVISIONING)
        assert placement.region == "eu-west-2"
        assert await here.outcomes(accepted) == [
            ("us-east-1", Outcome.ABSENT),
            ("eu-west-2", Outcome.CREATED),
        ]


@in_virtual_time
async def test_a_clock_that_runs_too_fast_does_not_shorten_the_quiet_time(tmp_path: Path) -> None:
    """A clock that approaches PostgreSQL's by `MAX_SLEW` counts `settle` too soon."""
    follow = FollowOptions(timeout_s=10.0, settle_s=1000.0)
    async with site(tmp_path, options=replace(OPTIONS, follow=follow)) as here:
        here.cloud.script_creates(NEVER_ARRIVED)
        accepted = await here.place()
        await here.until(accepted, State.PROVISIONING)
        [first, second] = await here.store.run(lambda tx: tx.placements.attempts(accepted.id))
        assert second.sent_at - first.send_deadline > follow.settle_s * (1 + MAX_SLEW) + 10.0  # two listings


@in_virtual_time
async def test_no_second_post_while_sweeps_fail(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.script_creates(NEVER_ARRIVED)
        accepted = await here.place()
        await here.until(accepted, State.VERIFYING)
        here.cloud.break_(INSTANCES, UnavailableError("down"))
        await asyncio.sleep(4 * SETTLE_S)
        assert len(here.cloud.requests) == 1


@in_virtual_time
async def test_a_verification_that_can_never_end_is_held(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.script_creates(NEVER_ARRIVED)
        accepted = await here.place()
        await here.until(accepted, State.VERIFYING)
        here.cloud.break_(INSTANCES, UnavailableError("down"))
        held = await here.until(accepted, State.HELD, within_s=3 * 3600.0)
        assert held.reason is not None
        here.cloud.mend(INSTANCES)
        await here.until(accepted, State.PROVISIONING)


@pytest.mark.slow
@in_virtual_time
async def test_an_outage_longer_than_hold_after_holds_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.script_creates(NEVER_ARRIVED)
        accepted = await here.place()
        await here.until(accepted, State.VERIFYING)
        for resource in (REGIONS, INSTANCES):
            here.cloud.break_(resource, UnavailableError("down"))
        await asyncio.sleep(5 * 3600.0)
        assert (await here.placement(accepted)).state is State.VERIFYING
        for resource in (REGIONS, INSTANCES):
            here.cloud.mend(resource)
        await here.until(accepted, State.PROVISIONING, within_s=60.0)


@in_virtual_time
async def test_a_refusal_for_capacity_fails_over_at_once_and_the_region_cools_off(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.script_creates(refusal("capacity"))
        accepted = await here.place()
        placement = await here.until(accepted, State.PROVISIONING, within_s=5.0)
        assert placement.region == "eu-west-2"
        assert ("us-east-1", "") in here.world.cooling_off


@in_virtual_time
async def test_a_rejected_request_is_posted_once_and_fails_with_the_providers_words(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.script_creates(refusal("rejected", "request", 422, "VALIDATION_ERROR"))
        accepted = await here.place()
        failed = await here.until(accepted, State.FAILED, within_s=5.0)
        assert failed.reason == "CloudNexus rejected it: 422 VALIDATION_ERROR: refused: rejected"
        await asyncio.sleep(3600.0)
        assert len(here.cloud.requests) == 1


@in_virtual_time
async def test_a_refused_key_stops_all_placing_but_for_a_probe_every_five_minutes(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.script_creates(*[refusal("auth", "account", 401)] * 3)
        for n in range(5):
            await here.place(f"worker-{n}")
        await asyncio.sleep(200.0)
        assert len(here.cloud.requests) == 1
        assert here.worker.key_refused
        await asyncio.sleep(200.0)
        assert len(here.cloud.requests) == 2


@pytest.mark.parametrize("resource", [REGIONS, INSTANCES])
def test_no_create_is_sent_while_the_last_poll_was_refused_for_the_key(resource: str, tmp_path: Path) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with site(tmp_path) as here:
            polls = here.world.polls
            refused = polls[resource].failed("unauthorized", "401", None, 0.0, here.clock.now())
            here.world.polls = {**polls, resource: refused}
            accepted = await here.place()
            await asyncio.sleep(9.0)
            assert here.cloud.requests == []
            waiting = await here.placement(accepted)
            assert waiting.reason == (
                "creates are paused: CloudNexus refused the key for the last poll (401 or 403)"
            )
            await here.until(accepted, State.PROVISIONING, within_s=10.0)

    scenario()


@in_virtual_time
async def test_what_could_not_be_sent_is_sent_later(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.script_creates(NOT_SENT, NOT_SENT)
        accepted = await here.place()
        await here.until(accepted, State.PROVISIONING, within_s=60.0)
        assert [outcome for _, outcome in await here.outcomes(accepted)] == [
            Outcome.NOT_SENT,
            Outcome.NOT_SENT,
            Outcome.CREATED,
        ]


@in_virtual_time
async def test_a_dead_process_leaves_its_attempt_in_doubt_and_the_next_one_adopts(tmp_path: Path) -> None:
    clock = VirtualClock()
    cloud = FakeCloudApi(clock, [EAST, WEST])
    async with site(tmp_path, cloud) as here:
        cloud.script_creates(Create(takes_s=5.0))
        accepted = await here.place()
        while not cloud.requests:
            await asyncio.sleep(0.1)
    async with site(tmp_path, cloud) as here:
        placement = await here.until(accepted, State.PROVISIONING, within_s=30.0)
        assert placement.instance_id == cloud.existing("worker-01")[0].id
        await asyncio.sleep(2 * SETTLE_S)
        assert len(cloud.requests) == 1


@in_virtual_time
async def test_of_several_instances_of_a_lost_name_the_oldest_is_adopted_and_it_is_told(
    tmp_path: Path,
) -> None:
    clock = VirtualClock()
    cloud = FakeCloudApi(clock, [EAST, WEST])
    async with site(tmp_path, cloud) as here:
        cloud.script_creates(Create(takes_s=5.0))
        accepted = await here.place()
        while not cloud.requests:
            await asyncio.sleep(0.1)
    (made,) = cloud.existing("worker-01")
    cloud.put(structs.replace(made, created_at="2026-01-01T00:00:05Z"))
    cloud.put(structs.replace(made, id="inst_other", created_at="2026-01-01T00:00:00Z"))
    async with site(tmp_path, cloud) as here:
        placement = await here.until(accepted, State.PROVISIONING, within_s=30.0)
        assert placement.instance_id == "inst_other"
        assert list(here.world.shared_names) == ["worker-01"]
        assert len(cloud.requests) == 1
    async with site(tmp_path, cloud) as here:  # it was killed before anybody was told
        await asyncio.sleep(30.0)
        assert (await here.placement(accepted)).state is State.PROVISIONING
        assert list(here.world.shared_names) == ["worker-01"]


@in_virtual_time
async def test_nothing_is_created_on_stale_data(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.break_(REGIONS, UnavailableError("down"))
        await asyncio.sleep(120.0)
        accepted = await here.place()
        await asyncio.sleep(600.0)
        assert here.cloud.requests == []
        placement = await here.placement(accepted)
        assert placement.reason is not None
        assert "older than" in placement.reason


@in_virtual_time
async def test_creates_keep_to_the_budget(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        for n in range(100):
            await here.place(f"worker-{n}")
        await asyncio.sleep(60.0)
        assert 35 <= len(here.cloud.requests) <= 40  # a burst of 10, then 30 a minute
        await asyncio.sleep(60.0)
        assert len(here.cloud.requests) <= 70


@in_virtual_time
async def test_a_placement_past_its_deadline_expires(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.change_region("us-east-1", capacity=False)
        here.cloud.change_region("eu-west-2", capacity=False)
        await here.poll()
        accepted = await here.place(deadline=here.clock.now() + 60.0)
        await here.until(accepted, State.EXPIRED, within_s=70.0)
        assert here.cloud.requests == []


@in_virtual_time
async def test_a_deadline_is_the_wall_clocks_though_that_is_stepped_meanwhile(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.change_region("us-east-1", capacity=False)
        here.cloud.change_region("eu-west-2", capacity=False)
        await here.poll()
        accepted = await here.place(deadline=here.clock.now() + 7200.0 + 60.0)
        here.clock.offset_s = 7200.0
        await asyncio.sleep(50.0)
        assert (await here.placement(accepted)).state is State.QUEUED
        await here.until(accepted, State.EXPIRED, within_s=20.0)


@in_virtual_time
async def test_a_name_that_an_instance_has_is_refused(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.put(Instance("inst_9", "worker-01", "running", "us-east-1"))
        await here.poll()
        with pytest.raises(ConflictError, match="taken by instance inst_9"):
            await here.place()


@in_virtual_time
async def test_a_name_of_an_open_placement_is_refused(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await here.place()
        with pytest.raises(ConflictError, match="worker-01"):
            await here.place()


@in_virtual_time
async def test_the_same_key_and_body_give_the_same_placement(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        request = PlacementRequest(name="worker-01", plan="pro")
        first = await here.intake.accept(request, IdempotencyKey("k1", "digest"))
        again = await here.intake.accept(request, IdempotencyKey("k1", "digest"))
        assert first.id == again.id
        with pytest.raises(ConflictError, match="another body"):
            await here.intake.accept(request, IdempotencyKey("k1", "other"))


@in_virtual_time
async def test_only_a_queued_placement_can_be_cancelled(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        placed = await here.place()
        await here.until(placed, State.PROVISIONING)
        with pytest.raises(ConflictError, match="is provisioning"):
            await here.intake.cancel(placed.id)


@in_virtual_time
async def test_a_plan_creates_nothing_and_says_why_not_elsewhere(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        decision = await here.intake.plan(
            PlacementRequest(name="x", plan="pro", where="region.latency_ms > 20")
        )
        assert decision.region == "eu-west-2"
        assert not decision.considered[1].eligible
        await asyncio.sleep(60.0)
        assert here.cloud.requests == []


@in_virtual_time
async def test_a_where_that_cannot_compile_names_its_field(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        with pytest.raises(InputError) as caught:
            await here.place(where="region.latancy_ms < 5")
        assert caught.value.field == "where"
        assert str(caught.value).startswith("where: ")


@in_virtual_time
async def test_a_deadline_that_has_passed_is_refused_but_not_to_a_repeated_request(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        request = PlacementRequest(name="worker-01", plan="pro", deadline=here.clock.now() + 5.0)
        first = await here.intake.accept(request, IdempotencyKey("k1", "digest"))
        await asyncio.sleep(10.0)
        assert (await here.intake.accept(request, IdempotencyKey("k1", "digest"))).id == first.id
        with pytest.raises(InputError, match="has passed"):
            await here.intake.accept(request, None)


@in_virtual_time
async def test_an_intent_whose_commit_was_made_though_it_seemed_to_fail_is_verified(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        run_leading = here.store.run_leading
        failures = iter([True])

        async def unknown_once(transaction):
            done = await run_leading(transaction)
            if "intend" in transaction.__qualname__ and next(failures, False):
                raise StoreUnavailableError("the connection was lost during the commit")
            return done

        here.store.run_leading = unknown_once  # type: ignore[method-assign]
        accepted = await here.place()
        verifying = await here.until(accepted, State.VERIFYING, within_s=30.0)
        assert verifying.reason == "whether its intent was stored was not known"
        assert here.cloud.requests == []
        await here.until(accepted, State.PROVISIONING)
        assert len(here.cloud.existing("worker-01")) == 1


@in_virtual_time
async def test_what_a_refused_attempt_could_not_have_made_is_not_adopted(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.change_region("eu-west-2", capacity=False)
        await here.poll()
        here.cloud.script_creates(refusal("capacity"))
        accepted = await here.place()
        await asyncio.sleep(5.0)
        here.cloud.put(
            Instance("inst_9", "worker-01", "running", "us-east-1", plan="pro", image="ubuntu-22.04")
        )
        failed = await here.until(accepted, State.FAILED, within_s=120.0)
        assert failed.reason == "the name was taken meanwhile by instance inst_9 in us-east-1"


@in_virtual_time
async def test_an_id_that_the_listing_has_otherwise_is_learnt(tmp_path: Path) -> None:
    """The reference writes ids in two ways."""
    async with site(tmp_path) as here:
        other = Instance("550e8400", "worker-01", "pending", "us-east-1")
        here.cloud.script_creates(Create(Created(other)))
        accepted = await here.place()
        await here.until(accepted, State.PROVISIONING)
        [made] = here.cloud.existing("worker-01")
        here.cloud.change(made.id, status="running")
        running = await here.until(accepted, State.RUNNING, within_s=60.0)
        assert running.instance_id == made.id


@in_virtual_time
async def test_a_lost_lease_sends_nothing_more(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        intend = here.worker._journal.intend

        async def then_lost(intent):
            done = await intend(intent)
            type(here.store).leading = property(lambda _: False)  # type: ignore[assignment]
            return done

        leading = type(here.store).leading
        here.worker._journal.intend = then_lost  # type: ignore[method-assign]
        try:
            await here.place()
            await asyncio.sleep(5.0)
        finally:
            type(here.store).leading = leading  # type: ignore[assignment]
        assert here.cloud.requests == []


@in_virtual_time
async def test_regions_that_an_earlier_process_read_place_nothing_however_young_they_look(
    tmp_path: Path,
) -> None:
    """Its clock told their age, and the clock may have been set back since."""
    async with site(tmp_path) as here:
        here.cloud.break_(REGIONS, UnavailableError("down"))
        here.world.restored = here.world.regions
        accepted = await here.place()
        await asyncio.sleep(20.0)
        assert here.cloud.requests == []
        here.cloud.mend(REGIONS)
        await here.until(accepted, State.PROVISIONING, within_s=30.0)


@in_virtual_time
async def test_instances_that_an_earlier_process_listed_place_nothing_however_young_they_look(
    tmp_path: Path,
) -> None:
    async with site(tmp_path) as here:
        here.cloud.break_(INSTANCES, UnavailableError("down"))
        here.world.inventory = Inventory()
        here.world.inventory.restore({}, {}, here.clock.now())
        accepted = await here.place()
        await asyncio.sleep(60.0)
        assert here.cloud.requests == []
        here.cloud.mend(INSTANCES)
        await here.until(accepted, State.PROVISIONING, within_s=60.0)
