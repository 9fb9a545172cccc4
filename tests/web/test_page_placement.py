"""One placement on the page."""

from __future__ import annotations

from dataclasses import replace

from nexusd.core.errors import StoreUnavailableError
from nexusd.core.lifecycle import Attempt, Outcome, State
from nexusd.core.placement import Spread
from tests.web.fakes import NOW, decision, placement
from tests.web.html import read
from tests.web.site import Site

PLACED = placement(1, State.RUNNING, region="us-east-1", instance_id="inst_9", attempts=2)


def attempt(number: int, outcome: Outcome | None, detail: str | None = None) -> Attempt:
    return Attempt(PLACED.id, number, "us-east-1", NOW - 20, NOW, 1, outcome=outcome, detail=detail)


async def test_it_explains_each_region_and_tells_of_each_attempt(site: Site) -> None:
    site.store.placements.put(PLACED)
    none = decision(region=None, reason="no region is eligible: no capacity (1)", decided_at=NOW - 50)
    site.store.placements.made_decisions[PLACED.id] = [none, decision()]
    site.store.placements.made_attempts[PLACED.id] = [
        attempt(1, Outcome.REFUSED, "409 INSUFFICIENT_CAPACITY: full"),
        attempt(2, Outcome.NOT_SENT),
    ]
    text = (await read(site, f"/?placement={PLACED.id}")).text
    assert "Placement worker-01" in text
    assert "For  | us-east-1 |  (lowest-latency); decided  | 5 s ago | , on data 5 s old." in text
    assert "us-east-1 | rank 1 | 12 ms | 42" in text
    assert "eu-west-2 | no capacity | 45 ms | 7" in text
    assert "1 earlier decision" in text
    assert "no region is eligible: no capacity (1); decided  | 50 s ago" in text
    assert "1 | us-east-1 | refused | 20 s ago | 409 INSUFFICIENT_CAPACITY: full" in text
    assert "not sent" in text


async def test_it_shows_what_was_asked_for(site: Site) -> None:
    request = replace(
        PLACED.request,
        regions=("us-east-1", "eu-west-2"),
        avoid_regions=("sa-east-1",),
        where="region.latency_ms < 80.0",
        spread=Spread("web", 2),
        priority=7,
        deadline=NOW + 600,
        fleet="web",
    )
    site.store.placements.put(replace(PLACED, state=State.QUEUED, request=request))
    text = (await read(site, f"/?placement={PLACED.id}")).text
    assert "Only in | us-east-1, eu-west-2" in text
    assert "Not in | sa-east-1" in text
    assert "Where | region.latency_ms < 80.0" in text
    assert "Spread | group web, at most 2 apart" in text
    assert "Priority | 7" in text
    assert "Deadline | in 10 min" in text
    assert "Fleet | web" in text


async def test_one_deep_in_the_queue_shows_what_would_be_decided_now(site: Site) -> None:
    site.store.placements.put(placement(3))
    text = (await read(site, f"/?placement={placement(3).id}")).text
    assert "What would be decided now" in text
    assert "Nothing was sent yet." in text


async def test_one_that_does_not_exist_is_not_found(site: Site) -> None:
    for given in ("plc_nothing", "%00", "a" * 200):
        page = await read(site, f"/?placement={given}", 404)
        assert "There is no such placement." in page.text


async def test_it_is_not_known_without_the_store(site: Site) -> None:
    site.store.error = StoreUnavailableError("disk full")
    assert "it is not known" in (await read(site, f"/?placement={PLACED.id}", 503)).text
