"""A cloud that stores names in another form: one instance per placement."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import pytest

from nexusd.core.answers import MADE, Created, Unknown
from nexusd.core.errors import ConflictError
from nexusd.core.fleets import FleetSpec
from nexusd.core.lifecycle import Outcome, Placement, State, Verdict
from nexusd.core.records import Instance
from nexusd.provisioning.following import FollowOptions
from tests.fakes import LOST, NEVER_ARRIVED, Create
from tests.provisioning import test_fleets as fleets
from tests.provisioning.site import OPTIONS, SETTLE_S, Site, site
from tests.virtual_time import in_virtual_time

LONG_S = 4 * SETTLE_S
LONG_NAME = "A-worker-of-the-production-cluster-with-a-name-longer-than-a-label-01"
STORED: list[tuple[str, Callable[[str], str]]] = [
    ("Worker-A", str.lower),
    (" worker-a ", str.strip),
    ("cafe\u0301", lambda name: normalize("NFC", name)),
    (LONG_NAME, lambda name: name[:63]),
    (LONG_NAME, lambda name: name[:63].lower()),
]
forms = pytest.mark.parametrize(("name", "stored"), STORED, ids=["folded", "trimmed", "NFC", "cut", "both"])


async def held(here: Site, name: str, create: Create = LOST) -> Placement:
    here.cloud.script_creates(create)
    return await here.until(await here.place(name), State.HELD, within_s=LONG_S)


@forms
def test_an_answered_create_is_followed_by_its_id(
    name: str, stored: Callable[[str], str], tmp_path: Path
) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with site(tmp_path) as here:
            here.cloud.stored_name = stored
            accepted = await here.place(name)
            placement = await here.until(accepted, State.PROVISIONING)
            await asyncio.sleep(60.0)
            [made] = here.cloud.existing()
            assert (made.name, made.id) == (stored(name), placement.instance_id)
            here.cloud.change(made.id, status="running")
            await here.until(accepted, State.RUNNING, within_s=30.0)
            assert len(here.cloud.requests) == 1

    scenario()


@forms
def test_an_answer_without_an_id_is_looked_up_by_the_similar_name(
    name: str, stored: Callable[[str], str], tmp_path: Path
) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with site(tmp_path) as here:
            here.cloud.stored_name = stored
            here.cloud.script_creates(Create(Created(None)))
            accepted = await here.place(name)
            await here.until(accepted, State.PROVISIONING)
            await asyncio.sleep(60.0)
            [made] = here.cloud.existing()
            assert (await here.placement(accepted)).instance_id == made.id
            assert len(here.cloud.requests) == 1

    scenario()


@forms
def test_a_similar_name_is_no_proof_of_absence(
    name: str, stored: Callable[[str], str], tmp_path: Path
) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with site(tmp_path) as here:
            here.cloud.stored_name = stored
            placement = await held(here, name)
            [made] = here.cloud.existing()
            assert placement.reason == (
                f"instance {made.id} appeared after attempt 1 in us-east-1 under the similar name "
                f"{made.name!r}"
            )
            await asyncio.sleep(LONG_S)
            assert (await here.placement(placement)).state is State.HELD
            assert len(here.cloud.requests) == 1
            resolved = await here.intake.resolve(placement.id, Verdict.EXISTS)
            assert (resolved.state, resolved.instance_id) == (State.PROVISIONING, made.id)

    scenario()


def test_a_new_instance_without_a_name_is_no_proof_of_absence(tmp_path: Path) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with site(tmp_path) as here:
            here.cloud.stored_name = lambda _: ""
            placement = await held(here, "worker-01")
            [made] = here.cloud.existing()
            assert (
                placement.reason == f"instance {made.id} appeared after attempt 1 in us-east-1 without a name"
            )
            assert len(here.cloud.requests) == 1

    scenario()


def test_an_older_instance_without_a_name_does_not_matter(tmp_path: Path) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with site(tmp_path) as here:
            here.cloud.stored_name = lambda _: ""
            await held(here, "worker-01")
            here.cloud.stored_name = lambda name: name
            here.cloud.script_creates(NEVER_ARRIVED)
            accepted = await here.place("worker-02")
            placement = await here.until(accepted, State.PROVISIONING, within_s=LONG_S)
            assert placement.attempts == 2

    scenario()


@pytest.mark.parametrize(
    "changes", [{"plan": "PRO"}, {"image": "img-7"}, {"region": ""}, {"region": "US-EAST-1"}]
)
def test_a_listed_instance_of_the_name_is_not_absent_whatever_else_differs(
    changes: dict[str, object], tmp_path: Path
) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with site(tmp_path) as here:
            here.cloud.script_creates(LOST)
            accepted = await here.place()
            await here.until(accepted, State.VERIFYING)
            here.cloud.change(here.cloud.existing()[0].id, **changes)
            placement = await here.until(accepted, State.HELD, within_s=LONG_S)
            assert "differs" in (placement.reason or "")
            assert len(here.cloud.requests) == 1

    scenario()


@in_virtual_time
async def test_a_shorter_name_of_another_placement_is_not_a_cut_one(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.script_creates(NEVER_ARRIVED)
        lost = await here.place("production-web-server-10")
        await here.until(lost, State.VERIFYING)
        await here.until(await here.place("production-web-server-1"), State.PROVISIONING)
        await here.until(lost, State.PROVISIONING, within_s=LONG_S)
        assert [outcome for _, outcome in await here.outcomes(lost)] == [Outcome.ABSENT, Outcome.CREATED]


@in_virtual_time
async def test_of_two_lost_creates_the_shorter_name_is_not_a_cut_one(tmp_path: Path) -> None:
    """It is listed before its own placement has its id."""
    async with site(tmp_path) as here:
        here.cloud.script_creates(NEVER_ARRIVED, LOST)
        longer = await here.place("production-web-server-10")
        await here.until(longer, State.VERIFYING)
        shorter = await here.place("production-web-server-1")
        await here.until(shorter, State.PROVISIONING, within_s=LONG_S)
        await here.until(longer, State.PROVISIONING, within_s=LONG_S)
        assert [outcome for _, outcome in await here.outcomes(longer)] == [Outcome.ABSENT, Outcome.CREATED]


@in_virtual_time
async def test_one_that_left_the_listing_again_is_still_no_proof_of_absence(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.stored_name = str.lower
        here.cloud.script_creates(LOST)
        accepted = await here.place("Worker-A")
        await asyncio.sleep(60.0)
        here.cloud.remove(here.cloud.existing()[0].id)
        await here.until(accepted, State.HELD, within_s=LONG_S)
        await asyncio.sleep(LONG_S)
        assert (await here.placement(accepted)).state is State.HELD
        assert len(here.cloud.requests) == 1


@in_virtual_time
async def test_the_exact_name_listed_later_ends_the_hold(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.stored_name = str.lower
        placement = await held(here, "Worker-A")
        [made] = here.cloud.existing()
        here.cloud.change(made.id, name="Worker-A")
        adopted = await here.until(placement, State.PROVISIONING, within_s=60.0)
        assert adopted.instance_id == made.id
        assert await here.outcomes(placement) == [("us-east-1", Outcome.ADOPTED)]


@in_virtual_time
async def test_a_similar_instance_that_was_there_before_proves_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.put(Instance("inst_old", "Worker-A", "terminated", "us-east-1"))
        await here.poll()
        here.cloud.script_creates(NEVER_ARRIVED)
        accepted = await here.place("worker-a")
        await here.until(accepted, State.PROVISIONING, within_s=LONG_S)
        assert [outcome for _, outcome in await here.outcomes(accepted)] == [Outcome.ABSENT, Outcome.CREATED]


@in_virtual_time
async def test_a_2xx_that_could_not_be_read_is_never_sent_again(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        placement = await held(here, "worker-a", Create(Unknown("201, but …", kind=MADE), makes=False))
        assert placement.reason == ("attempt 1 was answered as successful, but no such instance is listed")
        await asyncio.sleep(LONG_S)
        assert len(here.cloud.requests) == 1
        await here.intake.resolve(placement.id, Verdict.ABSENT)
        await here.until(placement, State.PROVISIONING)
        assert len(here.cloud.requests) == 2


@in_virtual_time
async def test_an_id_that_is_never_listed_fails_the_placement_and_is_not_sent_again(tmp_path: Path) -> None:
    follow = FollowOptions(settle_s=SETTLE_S, provisioning_timeout_s=120.0)
    async with site(tmp_path, options=replace(OPTIONS, follow=follow)) as here:
        here.cloud.script_creates(Create(listed_after_s=1e9))
        failed = await here.until(await here.place(), State.FAILED, within_s=300.0)
        assert failed.reason == "never listed 120s after it was created"
        await asyncio.sleep(LONG_S)
        assert len(here.cloud.requests) == 1


@in_virtual_time
async def test_the_id_of_an_instance_that_was_there_before_is_not_followed(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        other = Instance("inst_other", "another", "running", "us-east-1")
        here.cloud.put(other)
        await here.poll()
        here.cloud.script_creates(Create(Created(other)))
        placement = await here.until(await here.place(), State.PROVISIONING)
        assert placement.instance_id is None
        await asyncio.sleep(60.0)
        [made] = here.cloud.existing("worker-01")
        assert (await here.placement(placement)).instance_id == made.id


@forms
def test_a_name_that_an_instance_has_in_another_form_is_taken(
    name: str, stored: Callable[[str], str], tmp_path: Path
) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with site(tmp_path) as here:
            here.cloud.put(Instance("inst_7", stored(name), "running", "us-east-1"))
            await here.poll()
            with pytest.raises(ConflictError, match=r"is taken by instance inst_7 .* listed as"):
                await here.place(name)

    scenario()


@in_virtual_time
async def test_numbered_names_are_not_confused(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.put(Instance("inst_1", "production-web-server-1", "running", "us-east-1"))
        await here.poll()
        await here.until(await here.place("production-web-server-10"), State.PROVISIONING)


@in_virtual_time
async def test_of_two_placements_with_similar_names_one_is_made(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.stored_name = str.lower
        both = [await here.place("Worker-A"), await here.place("worker-a")]
        await asyncio.sleep(60.0)
        one, other = sorted([await here.placement(p) for p in both], key=lambda p: p.state)
        assert (one.state, other.state) == (State.FAILED, State.PROVISIONING)
        assert "the name was taken meanwhile" in (one.reason or "")
        assert len(here.cloud.requests) == 1


@pytest.mark.parametrize(
    ("fleet", "stored"), [("Web", str.lower), ("w" * 60, lambda name: name[:63])], ids=["folded", "cut at 63"]
)
def test_a_fleet_counts_members_in_whatever_form(
    fleet: str, stored: Callable[[str], str], tmp_path: Path
) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with fleets.site(tmp_path, FleetSpec(fleet, 3, "pro")) as here:
            here.cloud.stored_name = stored
            await asyncio.sleep(LONG_S)
            assert len(here.cloud.existing()) == 3
            assert (await here.fleet(fleet)).alive == 3

    scenario()


@in_virtual_time
async def test_a_fleet_whose_members_cannot_be_counted_stops(tmp_path: Path) -> None:
    async with fleets.site(tmp_path, FleetSpec("a-fleet-of-many-words", 3, "pro")) as here:
        here.cloud.stored_name = lambda name: name[:15]
        await asyncio.sleep(LONG_S)
        state = await here.fleet("a-fleet-of-many-words")
        assert len(here.cloud.requests) <= 3
        assert "so the members cannot be counted" in (state.reason or "")


@in_virtual_time
async def test_a_fleet_whose_answered_creates_are_never_listed_waits_for_hours(tmp_path: Path) -> None:
    follow = FollowOptions(settle_s=SETTLE_S, provisioning_timeout_s=120.0)
    options = replace(OPTIONS, follow=follow)
    async with fleets.site(tmp_path, FleetSpec("web", 1, "pro"), options=options) as here:
        here.cloud.script_creates(*[Create(listed_after_s=1e9)] * 9)
        await asyncio.sleep(3000.0)
        state = await here.fleet()
        assert len(here.cloud.requests) == 1
        assert state.reason == "1 in a row failed, the last: never listed 120s after it was created"
        assert state.next_try_at is not None
        assert 600.0 < state.next_try_at - here.clock.now() < 3600.0


@pytest.mark.parametrize("answer", [Created(None), None], ids=["without id", "with id"])
@pytest.mark.parametrize("listed_after_s", [0.0, 60.0])
def test_a_longer_name_does_not_take_the_instance_of_a_shorter_one(
    answer: Created | None, listed_after_s: float, tmp_path: Path
) -> None:
    """Both creates are answered, and the instance with the longer name is listed later."""

    @in_virtual_time
    async def scenario() -> None:
        async with site(tmp_path) as here:
            late, early = (replace(Create(answer), listed_after_s=s) for s in (120.0, listed_after_s))
            here.cloud.script_creates(late)
            longer = await here.place("production-web-server-10", regions=("us-east-1",))
            await here.until(longer, State.PROVISIONING)
            here.cloud.script_creates(early)
            shorter = await here.place("production-web-server-1", regions=("us-east-1",))
            await here.until(shorter, State.PROVISIONING)
            await asyncio.sleep(300.0)
            made = {i.name: i.id for i in here.cloud.existing()}
            assert len(made) == 2
            for accepted in (longer, shorter):
                placement = await here.placement(accepted)
                assert placement.instance_id == made[placement.request.name]

    scenario()


@in_virtual_time
async def test_a_held_placement_is_not_resolved_to_the_instance_of_another(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.script_creates(Create(Unknown("cut off", kind=MADE), makes=False))
        lost = await here.place("production-web-server-10", regions=("us-east-1",))
        await here.until(lost, State.VERIFYING)
        shorter = await here.place("production-web-server-1", regions=("us-east-1",))
        await here.until(shorter, State.PROVISIONING)
        await here.until(lost, State.HELD, within_s=LONG_S)
        assert (await here.intake.resolve(lost.id, Verdict.EXISTS)).instance_id is None


@in_virtual_time
async def test_the_id_of_a_response_outweighs_an_instance_with_a_shorter_name(tmp_path: Path) -> None:
    """Another program creates the next one of a numbered group while this one is not listed yet."""
    async with site(tmp_path) as here:
        here.cloud.script_creates(Create(listed_after_s=120.0))
        accepted = await here.place("production-web-server-10", regions=("us-east-1",))
        placement = await here.until(accepted, State.PROVISIONING)
        here.cloud.put(Instance("inst_other", "production-web-server-1", "running", "us-east-1"))
        await asyncio.sleep(60.0)
        assert (await here.placement(accepted)).instance_id == placement.instance_id
