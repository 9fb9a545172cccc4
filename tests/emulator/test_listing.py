"""Pages of bytes that are kept must always be what joining them anew would give."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nexusd.emulator.calls import CreateOrder, PageQuery
from nexusd.emulator.cloud import Cloud
from nexusd.emulator.rows import Identity
from tests.emulator.clients import HandClock, a_cloud

REGION = "us-east-1"


def page(cloud: Cloud, offset: int, limit: int, region: str | None = None) -> list[tuple[str, str]]:
    body = msgspec.json.decode(cloud.read_instances(PageQuery(limit, offset, region)))
    return [(one["id"], one["status"]) for one in body["data"]]


class PagesOfAChangingFleet(RuleBasedStateMachine):
    """Reads pages (so that they are kept) while everything that can change a listing happens."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.cloud = a_cloud(self.clock, instances=200, pending_s=3.0, provisioning_s=4.0, list_lag_s=2.0)
        self.model = [(one.id, one.status, one.region) for one in self.cloud.instances()]
        self.rng = random.Random(1)
        self.made = 0

    @rule(offset=st.integers(0, 320), limit=st.integers(1, 100), region=st.sampled_from([None, REGION]))
    def read(self, offset: int, limit: int, region: str | None) -> None:
        truth = [(one.id, one.status) for one in self.cloud.instances() if region in (None, one.region)]
        assert page(self.cloud, offset, limit, region) == truth[offset : offset + limit]

    @rule(seconds=st.sampled_from([0.5, 2.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def create(self) -> None:
        self.made += 1
        self.cloud.create(CreateOrder(f"web-{self.made}", REGION, "pro"))

    @rule(number=st.integers(0, 199), status=st.sampled_from(["stopped", "running", "terminated", "odd"]))
    def change(self, number: int, status: str) -> None:
        self.cloud.set_status(self.known(number), status)

    @rule(number=st.integers(0, 199))
    def vanish(self, number: int) -> None:
        self.cloud.vanish_instance(self.known(number))

    @rule(number=st.integers(0, 199))
    def restore(self, number: int) -> None:
        self.cloud.restore_instance(self.known(number))

    @rule(what=st.sampled_from(["insert", "remove", "move"]))
    def drift(self, what: str) -> None:
        fleet = self.cloud._fleet
        if what == "insert":
            fleet.insert_at_random(self.rng, self.clock.now)
        elif what == "remove":
            fleet.remove_at_random(self.rng)
        else:
            fleet.move_at_random(self.rng)

    @invariant()
    def overlapping_pages_agree(self) -> None:
        whole = page(self.cloud, 0, 100) + page(self.cloud, 100, 100)
        assert page(self.cloud, 99, 100) == whole[99:199]
        assert page(self.cloud, 37, 100) == whole[37:137]

    @invariant()
    def the_order_is_that_of_the_ranks(self) -> None:
        listing = self.cloud._fleet.listing(None)
        ranks = [listing[index].rank for index in range(len(listing))]
        assert ranks == sorted(set(ranks))

    @invariant()
    def as_many_live_as_counted(self) -> None:
        rows = self.cloud._fleet._rows
        assert self.cloud._fleet.live == sum(not row.gone and row.status != "terminated" for row in rows)

    def known(self, number: int) -> str:
        return self.model[number][0]


PagesOfAChangingFleet.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestPagesOfAChangingFleet = PagesOfAChangingFleet.TestCase


def test_a_page_that_did_not_change_is_served_from_the_same_bytes() -> None:
    cloud = a_cloud(instances=1000)
    listing = cloud._fleet.listing(None)
    before = {offset: listing.page(offset, 100) for offset in range(0, 1000, 100)}
    cloud.stop_instance(cloud.instances()[510].id)
    same = [offset for offset in before if listing.page(offset, 100) is before[offset]]
    assert 500 not in same
    assert len(same) >= 8


@pytest.mark.parametrize("seed", [1, 2, 99])
def test_ids_are_unique_and_lead_back_to_their_numbers(seed: int) -> None:
    identity = Identity(seed)
    ids = [identity.id(number) for number in range(20_000)]
    assert len(set(ids)) == len(ids)
    assert [identity.number(one) for one in ids] == list(range(20_000))
    assert len({identity.address(number) for number in range(20_000)}) == 20_000


@pytest.mark.parametrize(
    "text", ["", "inst_", "inst_8x92j1k", "inst_8X92J1K0", "i-8x92j1k0", "inst_8x92j1k0a"]
)
def test_what_is_no_id_leads_nowhere(text: str) -> None:
    assert Identity(1).number(text) is None


class SamePlace(random.Random):
    """Always chooses the same place of the listing."""

    def randrange(self, *_: object) -> int:
        return 5


def test_an_instance_that_comes_back_shares_its_place_with_none_that_came_meanwhile() -> None:
    cloud = a_cloud(instances=10)
    rng = SamePlace(1)
    for _ in range(3):
        inserted = cloud._fleet.insert_at_random(rng, cloud.now)
        assert inserted is not None
        cloud._fleet.vanish(inserted)
    for inserted in cloud._fleet._rows[10:]:
        cloud._fleet.restore(inserted)
    listing = cloud._fleet.listing(None)
    assert len({listing[index].rank for index in range(len(listing))}) == 13
