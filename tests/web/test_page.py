"""The status page at a glance."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace

import msgspec
import pytest

from nexusd.core.alerts import AlertState
from nexusd.core.errors import StoreUnavailableError
from nexusd.core.events import Event, Subject
from nexusd.core.fleets import Fleets, FleetSpec
from nexusd.core.lifecycle import State
from nexusd.core.placement import Considered
from nexusd.core.records import Instance, Region
from nexusd.core.regions import KnownRegion, RegionSnapshot
from nexusd.core.sweeps import Hold
from tests.web.fakes import (
    EVERYWHERE,
    LONDON,
    NOW,
    VIRGINIA,
    alert,
    decision,
    instance,
    muted_world,
    placement,
    world_of,
)
from tests.web.html import Page, read
from tests.web.site import Site

EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'"


async def test_all_is_well_when_nothing_fires_and_everything_was_read(site: Site) -> None:
    text = (await read(site)).text
    assert "All is well" in text
    assert "No alerts are firing or pending." in text


async def test_regions_say_where_the_next_placement_goes_and_why_not_elsewhere(site: Site) -> None:
    text = (await read(site)).text
    assert "The next placement without constraints goes to  | us-east-1 |  at 12 ms." in text
    assert "us-east-1 | Virginia, US | healthy | yes | 12 ms" in text
    assert "rank 1" in text
    assert "eu-west-2 | London, UK | healthy | none | 45 ms" in text
    assert text.count("no capacity") == 1


async def test_nothing_would_be_placed_without_an_eligible_region(site: Site) -> None:
    site.daemon.judged = site.daemon.judged[1:]
    text = (await read(site)).text
    assert "The next placement would wait: no region is eligible." in text
    assert "Nothing can be placed: no region is eligible" in text


async def test_old_data_is_called_old_and_decides_nothing(site: Site) -> None:
    poll = site.daemon.world.polls["regions"]
    failed = replace(poll, succeeded_at=NOW - 3600, failure="timeout", failure_message="no answer in 10 s")
    site.daemon.world.polls["regions"] = failed
    text = (await read(site)).text
    assert "Old data: regions cannot be read" in text
    assert "The next placement would wait: what is known of the regions is old." in text
    assert "regions | every 15 s | old, last poll failed: no answer in 10 s | 60 min" in text


async def test_an_api_that_does_not_answer_is_said_in_those_words(site: Site) -> None:
    world = site.daemon.world
    world.polls = {
        k: replace(p, answered_at=NOW - 600, succeeded_at=NOW - 600, failed_began_at=NOW - 9)
        for k, p in world.polls.items()
    }
    assert "CloudNexus does not answer" in (await read(site)).text


async def test_a_refused_key_is_said_first(site: Site) -> None:
    poll = site.daemon.world.polls["instances"]
    site.daemon.world.polls["instances"] = replace(poll, failure="unauthorized")
    site.daemon.world.alerts = {"1": alert(severity="critical")}
    text = (await read(site)).text
    assert "CloudNexus refuses the API key" in text
    assert "Also: 1 critical alert is firing." in text


async def test_the_worst_alerts_make_the_verdict_and_muted_ones_do_not(site: Site) -> None:
    site.daemon.world.alerts = {
        "1": alert(severity="warning", region="a"),
        "2": alert(severity="critical", region="b"),
        "3": alert(severity="info", region="c"),
    }
    text = (await read(site)).text
    assert "1 critical alert is firing" in text
    assert "Also: 1 alert is firing." in text


async def test_a_watchdog_that_fires_is_as_it_should_be(site: Site) -> None:
    site.daemon.world.alerts = {"1": alert("Watchdog", severity="none")}
    text = (await read(site)).text
    assert "All is well" in text
    assert "Watchdog" not in text


async def test_alerts_say_since_when_and_what_mutes_them(site: Site) -> None:
    site.daemon.world = muted_world()
    text = (await read(site)).text
    assert "RegionUnhealthy in eu-west-2 | 5 min ago | no" in text
    assert "inhibited by RegionUnhealthy; silenced by ada: being moved" in text
    assert "2 alerts are firing" in text
    assert "0 pending, 1 muted" in text
    assert 'instance_id="inst_1" | active | ada: being moved | in 60 min' in text


async def test_what_mutes_others_comes_before_its_like_and_what_is_muted_last(site: Site) -> None:
    site.daemon.world = muted_world()
    text = (await read(site)).text
    shown = [
        "RegionUnhealthy in eu-west-2",
        "InstanceStopped in us-east-1",
        "InstanceStopped in eu-west-2",
    ]
    assert sorted(shown, key=text.index) == shown


async def test_the_fleet_is_counted_by_region_and_status(site: Site) -> None:
    site.daemon.world = world_of([instance(1), instance(2), instance(3, "odd")], EVERYWHERE)
    site.daemon.world.inventory.hold = Hold(NOW, 1, frozenset(map(str, range(20))), 30)
    page = await read(site)
    assert "Region | pending | provisioning | running | stopped | terminated | odd" in page.text
    assert "us-east-1 | 0 | 0 | 2 | 0 | 0 | 1" in page.text
    assert "?show=instances&region=us-east-1&status=running" in page.values("href")
    assert "20 of 30 instances are missing at once" in page.text
    assert "A mass disappearance of instances is being confirmed" in page.text


def renamed(one: Instance, name: str) -> Instance:
    return msgspec.structs.replace(one, name=name)


async def test_fleets_are_shown_as_declared_against_alive(site: Site) -> None:
    world = world_of([renamed(instance(1), "web-aaaaa")], EVERYWHERE)
    world.declare(Fleets((FleetSpec("web", 3, "pro"), FleetSpec("db", 0, "starter"))))
    site.daemon.world = world
    text = (await read(site)).text
    assert "2 fleets declared." in text
    assert "web | pro | 1 | 3 | 0" in text
    assert "db | starter | 0 | 0 | 0 | as declared" in text
    assert "Fleets complete | 1 | of 2" in text


async def test_placements_show_their_life_and_why_they_are_where_they_are(site: Site) -> None:
    placed = placement(1, State.RUNNING, region="us-east-1", instance_id="inst_9", attempts=1)
    failed = placement(2, State.FAILED, reason="422 VALIDATION_ERROR: bad image", region="us-east-1")
    site.store.placements.put(placed, failed)
    site.store.placements.made_decisions[placed.id] = [decision()]
    page = await read(site)
    assert "worker-01 | pro | running | us-east-1 | inst_9 | the only eligible region, 12 ms" in page.text
    assert "failed | us-east-1 | none | 422 VALIDATION_ERROR: bad image" in page.text
    assert f"?placement={placed.id}" in page.values("href")


async def test_a_decision_is_read_once(site: Site) -> None:
    placed = placement(1, State.RUNNING, region="us-east-1", attempts=1)
    site.store.placements.put(placed)
    site.store.placements.made_decisions[placed.id] = [decision()]
    await read(site)
    site.store.placements.made_decisions.clear()
    site.clock.advance(1.0)
    assert "the only eligible region" in (await read(site)).text


async def test_what_waits_for_a_person_comes_first(site: Site) -> None:
    site.store.placements.put(
        placement(1, State.HELD, region="us-east-1"), *(placement(n) for n in range(2, 40))
    )
    text = (await read(site)).text
    assert "1 placement waits for a person" in text
    assert "Placements that a person has to decide on" in text
    assert text.count("worker-01") == 1


async def test_what_happened_last_is_told_newest_first(site: Site) -> None:
    stopped, told = Subject("instance", "i1", "web-1", "us-east-1"), Subject("alert", "f", "InstanceStopped")
    site.store.events.append(
        [
            Event(NOW - 9, "InstanceStatusChanged", stopped, {"from": "running", "to": "stopped"}),
            Event(NOW - 8, "AlertFired", told, {"summary": "Instance web-1 is stopped"}),
        ]
    )
    text = (await read(site)).text
    assert "8 s ago | Alert fired |   | InstanceStopped | : Instance web-1 is stopped" in text
    assert text.index("Alert fired") < text.index("web-1 |  running → stopped in us-east-1")


@pytest.mark.parametrize(
    ("change", "severity", "colour"),
    [
        ("AlertFired", "critical", "bad"),
        ("AlertFired", "warning", "poor"),
        ("AlertFired", "info", "idle"),
        ("AlertFired", "none", "idle"),
        ("AlertResolved", "critical", "good"),
        ("AlertResolved", "none", "idle"),
        ("AlertBecamePending", "critical", "idle"),
    ],
)
async def test_the_colour_of_an_alerts_event_is_that_of_its_severity(
    site: Site, change: str, severity: str, colour: str
) -> None:
    subject = Subject("alert", "f", "Watchdog")
    site.store.events.append([Event(NOW - 8, change, subject, {"labels": {"severity": severity}})])
    markup = (await site.get("/")).text
    events = markup[markup.index('id="events"') :].partition("</section>")[0]
    assert f'class="status {colour}"' in events


@pytest.mark.parametrize(("receivers", "warned"), [((), True), (("ops",), False)])
async def test_a_daemon_without_receivers_shows_that(receivers: tuple[str, ...], warned: bool) -> None:
    async with Site().running(receivers=receivers) as site:
        assert ("No receiver is configured" in (await read(site)).text) is warned


async def test_the_daemon_tells_of_itself(site: Site) -> None:
    site.store.outbox.numbers = {("ops", "pending"): 3, ("ops", "dead"): 1}
    site.store.outbox.oldest = {"ops": NOW - 90}
    site.store.leading = False
    site.daemon.unready = "stopping"
    text = (await read(site)).text
    assert "ops | 3 | 1 | 0 | 90 s ago" in text
    assert "no: another replica places and notifies" in text
    assert "Not ready: stopping" in text
    assert "1 notification was given up" in text
    assert "Version | 1.2.3" in text


async def test_the_page_goes_on_without_the_store(site: Site) -> None:
    site.store.error = StoreUnavailableError("disk full")
    text = (await read(site)).text
    assert "The store does not answer" in text
    assert "us-east-1" in text


async def test_a_daemon_that_knows_nothing_yet_has_a_page(site: Site) -> None:
    world = world_of()
    world.polls = {k: replace(p, succeeded_at=None, answered_at=None) for k, p in world.polls.items()}
    site.daemon.world, site.daemon.judged = world, ()
    site.daemon.unready = "no first snapshot of regions: not read yet"
    text = (await read(site)).text
    assert "Not ready: no first snapshot of regions: not read yet" in text
    assert "No regions are known yet." in text
    assert "Data age | none yet" in text


async def test_a_region_that_left_the_list_is_named(site: Site) -> None:
    known = {"us-east-1": KnownRegion(VIRGINIA), "eu-west-2": KnownRegion(LONDON, left_at=NOW - 300)}
    site.daemon.world.regions = RegionSnapshot(NOW - 10, known)
    assert "eu-west-2 |  left  | 5 min ago" in (await read(site)).text


async def test_hostile_text_is_shown_and_never_becomes_markup(site: Site) -> None:
    region = Region(EVIL, EVIL, EVIL, 1.0, capacity=True)
    site.daemon.world = world_of([instance(1, EVIL, EVIL)], [region])
    judged = Considered(EVIL, eligible=False, rank=None, latency_ms=1.0, instances=1, reasons=(EVIL,))
    site.daemon.judged = (judged,)
    site.daemon.world.alerts = {"1": alert(EVIL, name=EVIL)}
    evil = replace(placement(1, reason=EVIL), request=replace(placement().request, name=EVIL))
    site.store.placements.put(evil)
    site.store.events.append([Event(NOW, EVIL, Subject("region", EVIL, EVIL, EVIL), {"reason": EVIL})])
    site.daemon.unready = EVIL

    page = await read(site)

    assert EVIL in page.words
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("abc\u202edcba", "abc\\u202edcba"),
        ("nul\0", "nul\\x00"),
        ("\ud800", "\\ud800"),
    ],
)
async def test_what_is_not_visible_is_written_out(hidden: str, shown: str, site: Site) -> None:
    site.daemon.world = world_of([instance(1)], [Region("r", hidden, "healthy", 1.0, capacity=True)])
    site.daemon.judged = (Considered("r", eligible=True, rank=1, latency_ms=1.0, instances=1),)
    page = await read(site)
    assert shown in page.words
    assert hidden not in page.text


async def test_the_page_needs_nothing_inline_and_no_other_host(site: Site) -> None:
    answer = await site.get("/")
    page = Page(answer.text)
    assert not {"style", "iframe"} & set(page.tags)
    assert "style" not in [name for name, _ in page.attributes]
    assert "" not in page.values("src")
    assert page.tags.count("script") == len(page.values("src")) == 1
    links = page.values("href", "src", "action")
    assert links
    assert not [link for link in links if re.match(r"[a-z]+:|//", link)]
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'")
    assert "unsafe" not in policy


async def test_what_the_page_links_to_is_there(site: Site) -> None:
    site.store.placements.put(placement(region="us-east-1"))
    site.daemon.world.alerts = {str(n): alert(region=str(n)) for n in range(20)}
    page = await read(site)
    for link in set(page.values("href", "src")):
        if not link.startswith("#"):
            assert (await site.get(f"/{link.removeprefix('./')}")).status == 200, link


async def test_without_scripts_the_page_renews_itself(site: Site) -> None:
    text = (await site.get("/")).text
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in text


async def test_static_files_are_cached_by_what_is_in_them_and_nothing_else_is_served(site: Site) -> None:
    page = await read(site)
    (script,) = page.values("src")
    answer = await site.get(f"/{script}")
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    again = await site.get(f"/{script}", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert (await site.get("/static/nexusd.css")).headers["Cache-Control"] == "no-cache"
    assert (await site.get("/static/nexusd.svg")).headers["Content-Type"].startswith("image/svg+xml")
    for path in ("/static/view.py", "/static/..%2froutes.py", "/static/", "/static/__init__.py"):
        assert (await site.get(path)).status == 404


async def test_who_has_the_page_gets_it_again_only_when_something_changed(site: Site) -> None:
    first = await site.get("/")
    mark = {"If-None-Match": first.headers["ETag"]}
    site.clock.advance(5.0)
    assert (await site.get("/", headers=mark)).status == 304
    site.daemon.world.alerts = {"1": alert()}
    site.clock.advance(1.0)
    answer = await site.get("/", headers=mark)
    assert answer.status == 200
    assert "RegionUnhealthy" in answer.text


async def test_what_changes_while_the_page_is_put_together_is_shown_by_the_next(site: Site) -> None:
    judged = site.daemon.eligibility

    def meanwhile() -> tuple[Considered, ...]:
        site.daemon.world.alerts = site.daemon.world.alerts or {"1": alert()}
        return judged()

    site.daemon.eligibility = meanwhile  # type: ignore[method-assign]
    first = await site.get("/")
    site.clock.advance(1.0)
    answer = await site.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert "RegionUnhealthy" in answer.text


async def test_times_go_on_for_who_asks_without_a_mark(site: Site) -> None:
    site.daemon.world.alerts = {"1": alert(state=AlertState.PENDING)}
    assert "5 min ago" in (await read(site)).text
    site.clock.advance(120.0)
    assert "7 min ago" in (await read(site)).text


async def test_many_readers_cost_the_store_one_reading(site: Site) -> None:
    await read(site)
    before = site.store.runs
    for _ in range(20):
        await read(site)
    assert site.store.runs == before


async def test_the_page_is_compressed_for_who_takes_that(site: Site) -> None:
    answer = await site.get("/", headers={"Accept-Encoding": "gzip, br"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert b"All is well" in gzip.decompress(answer.body)


@pytest.mark.slow
async def test_a_hundred_thousand_instances_do_not_make_it_long(site: Site) -> None:
    site.daemon.world = world_of((instance(n, region=f"r{n % 500:03}") for n in range(100_000)), EVERYWHERE)
    site.daemon.world.alerts = {str(n): alert(instance_id=str(n)) for n in range(10_000)}
    answer = await site.get("/")
    assert len(answer.body) < 200_000
    assert "488 more, the first 100 shown" in answer.text
    assert "All 10,000" in answer.text
