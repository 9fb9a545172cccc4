"""A person decides what a held placement's create came to (`nexusd resolve`), in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nexusd.core.cooling import CoolingOff
from nexusd.core.errors import ConflictError, NotFoundError, UnavailableError
from nexusd.core.events import Event
from nexusd.core.lifecycle import Outcome, Placement, State, Verdict
from nexusd.core.polls import INSTANCES
from tests.fakes import LOST, NEVER_ARRIVED, Create
from tests.provisioning.site import SETTLE_S, Site, site
from tests.virtual_time import in_virtual_time


async def hold(here: Site, create: Create) -> Placement:
    """A placement whose create had no answer, and whose sweeps have failed ever since."""
    here.cloud.script_creates(create)
    here.cloud.break_(INSTANCES, UnavailableError("down"))
    accepted = await here.place()
    return await here.until(accepted, State.HELD, within_s=3 * 3600.0)


async def newest_event(here: Site) -> Event:
    return (await here.store.run(lambda tx: tx.events.since(None, None, 1)))[0]


@in_virtual_time
async def test_one_that_exists_is_followed_and_its_id_learnt_from_the_next_listing(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        held = await hold(here, LOST)
        resolved = await here.intake.resolve(held.id, Verdict.EXISTS)
        assert (resolved.state, resolved.region) == (State.PROVISIONING, "us-east-1")
        here.cloud.mend(INSTANCES)
        [made] = here.cloud.existing("worker-01")
        here.cloud.change(made.id, status="running")
        running = await here.until(held, State.RUNNING, within_s=60.0)
        assert running.instance_id == made.id
        assert len(here.cloud.requests) == 1
        assert await here.outcomes(held) == [("us-east-1", Outcome.ADOPTED)]


@in_virtual_time
async def test_one_that_a_listing_has_already_is_resolved_with_its_id(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        held = await hold(here, LOST)
        [made] = here.cloud.existing("worker-01")
        here.world.inventory.restore({made.id: made}, {}, here.clock.now())
        resolved = await here.intake.resolve(held.id, Verdict.EXISTS)
        assert resolved.instance_id == made.id


@in_virtual_time
async def test_one_that_is_absent_is_queued_and_created_once_more(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        held = await hold(here, NEVER_ARRIVED)
        resolved = await here.intake.resolve(held.id, Verdict.ABSENT)
        assert (resolved.state, resolved.region) == (State.QUEUED, None)
        await asyncio.sleep(600.0)
        assert len(here.cloud.requests) == 1  # not while the listing, which holds the names, is stale
        here.cloud.mend(INSTANCES)
        await here.until(held, State.PROVISIONING, within_s=60.0)
        assert [outcome for _, outcome in await here.outcomes(held)] == [Outcome.ABSENT, Outcome.CREATED]
        assert len(here.cloud.existing("worker-01")) == 1


@in_virtual_time
async def test_one_that_a_person_wrongly_calls_absent_is_adopted_once_it_is_listed(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        held = await hold(here, LOST)
        await here.intake.resolve(held.id, Verdict.ABSENT)
        here.cloud.mend(INSTANCES)
        adopted = await here.until(held, State.PROVISIONING, within_s=60.0)
        assert adopted.instance_id == here.cloud.existing("worker-01")[0].id
        assert len(here.cloud.requests) == 1


@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_event_says_that_a_person_decided(verdict: Verdict, tmp_path: Path) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with site(tmp_path) as here:
            held = await hold(here, NEVER_ARRIVED)
            resolved = await here.intake.resolve(held.id, verdict)
            event = await newest_event(here)
            assert (event.type, event.subject.id) == ("PlacementStateChanged", held.id)
            assert event.subject.region == "us-east-1"
            assert event.detail["by"] == "operator"
            assert (event.detail["from"], event.detail["to"]) == ("held", resolved.state.value)
            assert "resolved by an operator" in str(event.detail["reason"])

    scenario()


@in_virtual_time
async def test_what_is_not_held_is_a_conflict_that_says_what_it_is_and_changes_nothing(
    tmp_path: Path,
) -> None:
    async with site(tmp_path) as here:
        here.cloud.script_creates(NEVER_ARRIVED)
        accepted = await here.place()
        verifying = await here.until(accepted, State.VERIFYING)
        said = f"placement {accepted.id} is verifying: only a held one can be resolved"
        with pytest.raises(ConflictError, match=said):
            await here.intake.resolve(accepted.id, Verdict.ABSENT)
        assert await here.placement(accepted) == verifying
        assert await here.outcomes(accepted) == [("us-east-1", Outcome.UNKNOWN)]


@in_virtual_time
async def test_of_two_resolutions_the_second_is_a_conflict(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        held = await hold(here, NEVER_ARRIVED)
        both = await asyncio.gather(
            here.intake.resolve(held.id, Verdict.EXISTS),
            here.intake.resolve(held.id, Verdict.ABSENT),
            return_exceptions=True,
        )
        assert isinstance(both[1], ConflictError)
        assert (await here.placement(held)).state is State.PROVISIONING


@in_virtual_time
async def test_an_unknown_placement_is_not_found(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        with pytest.raises(NotFoundError):
            await here.intake.resolve("plc_none", Verdict.EXISTS)


@in_virtual_time
async def test_a_region_whose_one_probe_a_person_settled_may_be_tried_again(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.world.cooling_off = {("us-east-1", ""): CoolingOff("us-east-1", 0.0, 1, "NO_CAPACITY")}
        held = await hold(here, NEVER_ARRIVED)
        await here.intake.resolve(held.id, Verdict.ABSENT)
        here.cloud.mend(INSTANCES)
        placed = await here.until(held, State.PROVISIONING, within_s=60.0)
        assert placed.region == "us-east-1"


@in_virtual_time
async def test_absences_of_one_attempt_prove_nothing_of_the_next(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        held = await hold(here, NEVER_ARRIVED)
        here.cloud.mend(INSTANCES)
        await here.poll()  # one complete listing without it
        here.cloud.break_(INSTANCES, UnavailableError("down"))
        await asyncio.sleep(6.0)
        here.cloud.script_creates(NEVER_ARRIVED)
        await here.intake.resolve(held.id, Verdict.ABSENT)
        here.cloud.mend(INSTANCES)
        await here.until(held, State.VERIFYING, within_s=60.0)
        here.cloud.break_(INSTANCES, UnavailableError("down"))
        await asyncio.sleep(SETTLE_S + 60.0)
        here.cloud.mend(INSTANCES)
        await here.poll()
        here.cloud.break_(INSTANCES, UnavailableError("down"))
        await asyncio.sleep(60.0)
        assert (await here.placement(held)).state is State.VERIFYING
