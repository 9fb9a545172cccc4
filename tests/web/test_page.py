"""The status page."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from html.parser import HTMLParser

from nexusd.core.alerts import AlertState
from nexusd.core.errors import StoreUnavailableError
from nexusd.core.inventory import Hold
from nexusd.core.lifecycle import State
from nexusd.core.placement import Considered
from nexusd.core.records import Region
from nexusd.web.page.html import Html, element
from nexusd.web.page.view import ago
from tests.web.fakes import EVERYWHERE, NOW, alert, instance, muted_world, placement, world_of
from tests.web.site import Site


class _Reader(HTMLParser):
    """The text of a page, its elements, and whether every element is closed in order."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " | ".join(self.words)


async def read(site: Site) -> _Reader:
    answer = await site.get("/")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    reader = _Reader(answer.text)
    assert reader.open == []
    return reader


async def test_the_page_shows_regions_and_where_the_next_placement_goes(site: Site) -> None:
    text = (await read(site)).text
    assert "would go to us-east-1 at 12 ms" in text
    assert "eu-west-2 | London, UK | healthy | no | 45 ms | 7 | no capacity" in text


async def test_the_page_says_why_nothing_would_be_placed(site: Site) -> None:
    site.daemon.judged = site.daemon.judged[1:]
    assert "would wait: no region is eligible" in (await read(site)).text
    poll = site.daemon.world.polls["regions"]
    site.daemon.world.polls["regions"] = replace(poll, succeeded_at=NOW - 3600)
    assert "would wait: the region data is stale" in (await read(site)).text


async def test_the_page_counts_the_fleet(site: Site) -> None:
    site.daemon.world = world_of([instance(1), instance(2), instance(3, "odd")], EVERYWHERE)
    site.daemon.world.inventory.hold = Hold(NOW, 1, frozenset(map(str, range(20))), 30)
    text = (await read(site)).text
    assert "3 instances." in text
    assert "us-east-1 | 0 | 0 | 2 | 0 | 0 | 1" in text
    assert "20 of 30 instances are missing at once" in text


async def test_the_page_shows_placements_alerts_and_the_daemon(site: Site) -> None:
    site.store.placements.put(
        placement(1, State.FAILED, reason="422 VALIDATION_ERROR: bad image", region="us-east-1")
    )
    site.store.outbox.numbers = {("ops", "pending"): 3}
    site.daemon.world.alerts = {"1": alert(region="eu-west-2"), "2": alert(state=AlertState.PENDING)}
    text = (await read(site)).text
    assert "worker-01 | pro | failed | us-east-1" in text
    assert "422 VALIDATION_ERROR: bad image" in text
    assert "RegionUnhealthy | warning | firing | region=eu-west-2 | RegionUnhealthy in eu-west-2" in text
    assert "1 alert firing" in text
    assert "Notifications waiting | 3" in text
    assert "Version | 1.2.3" in text


async def test_the_page_says_when_data_is_stale_or_the_daemon_not_ready(site: Site) -> None:
    poll = site.daemon.world.polls["instances"]
    site.daemon.world.polls["instances"] = replace(poll, succeeded_at=NOW - 600, failure="timeout")
    site.daemon.unready = "CloudNexus refuses the API key"
    text = (await read(site)).text
    assert "instances: read 10 min ago, last poll failed (timeout), stale" in text
    assert "not ready: CloudNexus refuses the API key" in text


async def test_the_page_goes_on_without_the_store(site: Site) -> None:
    site.store.error = StoreUnavailableError("disk full")
    text = (await read(site)).text
    assert "The store does not answer" in text
    assert "us-east-1" in text


async def test_the_page_shows_a_daemon_that_knows_nothing_yet(site: Site) -> None:
    world = world_of()
    world.polls = {k: replace(p, succeeded_at=None) for k, p in world.polls.items()}
    site.daemon.world, site.daemon.judged = world, ()
    text = (await read(site)).text
    assert "No regions are known yet." in text
    assert "regions: not read yet, stale" in text


async def test_hostile_text_is_shown_and_never_becomes_markup(site: Site) -> None:
    evil = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'"
    region = Region(evil, evil, evil, 1.0, capacity=True)
    site.daemon.world = world_of([instance(1, evil, evil)], [region])
    site.daemon.judged = (
        Considered(evil, eligible=False, rank=None, latency_ms=1.0, instances=1, reasons=(evil,)),
    )
    site.daemon.world.alerts = {"1": alert(evil, name=evil)}
    site.store.placements.put(
        replace(placement(1, reason=evil), request=replace(placement().request, name=evil))
    )
    site.daemon.unready = evil

    reader = await read(site)

    assert evil in reader.words
    assert not {"script", "img"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name.startswith("on")]


async def test_the_page_needs_nothing_inline_and_no_other_host(site: Site) -> None:
    answer = await site.get("/")
    reader = _Reader(answer.text)
    assert not {"script", "style", "iframe"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name == "style"]
    links = [value or "" for name, value in reader.attributes if name in ("href", "src")]
    assert links
    assert not [link for link in links if re.match(r"[a-z]+:|//", link)]
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'")


async def test_what_the_page_links_to_is_there(site: Site) -> None:
    site.store.placements.put(placement())
    reader = await read(site)
    for link in {value for name, value in reader.attributes if name == "href" and value}:
        assert (await site.get(f"/{link}")).status == 200, link


async def test_static_files_have_their_types_and_nothing_else_is_served(site: Site) -> None:
    assert (await site.get("/static/nexusd.css")).headers["Content-Type"].startswith("text/css")
    assert (await site.get("/static/nexusd.svg")).headers["Content-Type"].startswith("image/svg+xml")
    for path in ("/static/view.py", "/static/..%2fview.py", "/static/"):
        assert (await site.get(path)).status == 404


async def test_a_hundred_thousand_instances_do_not_make_it_long_or_slow(site: Site) -> None:
    site.daemon.world = world_of((instance(n, region=f"r{n % 500:03}") for n in range(100_000)), EVERYWHERE)
    site.daemon.world.alerts = {str(n): alert(instance_id=str(n)) for n in range(10_000)}
    started = time.process_time()
    answer = await site.get("/")
    assert time.process_time() - started < 0.5
    assert len(answer.body) < 300_000
    assert "(200 of 500)" in answer.text
    assert "(100 of 10000)" in answer.text


def test_text_is_escaped_and_elements_are_not() -> None:
    inner = element("b", "<&>")
    assert element("p", inner, 'a"b', title='"x"') == (
        '<p title="&quot;x&quot;"><b>&lt;&amp;&gt;</b>a&quot;b</p>'
    )
    assert isinstance(inner, Html)


def test_durations_are_said_in_their_largest_fitting_unit() -> None:
    assert [ago(s) for s in (-1, 0, 119, 120, 7200, 172_800)] == [
        "0 s",
        "0 s",
        "119 s",
        "2 min",
        "2 h",
        "2 d",
    ]


async def test_the_page_says_what_is_not_told_and_why(site: Site) -> None:
    site.daemon.world = muted_world()
    assert "inhibited by RegionUnhealthy; silenced by ada: being moved" in (await read(site)).text
