"""The page's lists: instances, alerts and placements, a page at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec
import pytest

from nexusd.core.alerts import AlertState
from nexusd.core.errors import StoreUnavailableError
from nexusd.core.lifecycle import State
from nexusd.core.records import Instance, Specs
from nexusd.web.beside import INSTANCES_ON_LOOP
from nexusd.web.page.instances import Filter, find
from tests.web.fakes import EVERYWHERE, alert, instance, placement, world_of
from tests.web.html import read
from tests.web.site import Site


@pytest.fixture
def many(site: Site) -> Site:
    rows = [instance(n, "running" if n % 2 else "stopped", f"r{n % 3}") for n in range(300)]
    site.daemon.world = world_of(rows, EVERYWHERE)
    return site


async def test_instances_are_listed_a_page_at_a_time(many: Site) -> None:
    page = await read(many, "/?show=instances")
    assert page.text.count("worker-") == 50
    assert "1 to 50 of 300" in page.text
    assert "?show=instances&offset=50" in page.values("href")
    last = await read(many, "/?show=instances&offset=250")
    assert "251 to 300 of 300" in last.text
    assert "Next" not in last.text


async def test_instances_are_filtered_by_region_status_and_part_of_the_name(many: Site) -> None:
    page = await read(many, "/?show=instances&region=r1&status=running&name=WORKER-1")
    assert "1 to 20 of 20" in page.text
    assert "worker-199" in page.text
    assert "worker-100" not in page.text
    assert "WORKER-1" in page.values("value")


async def test_what_a_form_left_empty_filters_nothing(many: Site) -> None:
    assert "1 to 50 of 300" in (await read(many, "/?show=instances&region=&status=&name=")).text


async def test_nothing_found_is_said(many: Site) -> None:
    page = await read(many, "/?show=instances&region=nowhere")
    assert "none" in page.words
    assert "nowhere" in page.values("value")


async def test_an_instance_shows_its_size_and_whether_the_last_listing_had_it(site: Site) -> None:
    one = msgspec.structs.replace(instance(1), specs=Specs(4, 8, 100), public_ip="192.0.2.7")
    site.daemon.world = world_of([one])
    site.daemon.world.inventory.restore({}, {one.id: 1}, 0.0)
    text = (await read(site, "/?show=instances")).text
    assert "worker-1 | running, not in the last listing | us-east-1 | 192.0.2.7 | 4 CPU, 8 GB" in text


class ThreadRecordingDict(dict[str, Instance]):
    """Records the threads that iterate over its values."""

    def __init__(self, instances: dict[str, Instance]) -> None:
        super().__init__(instances)
        self.threads: set[int] = set()

    def values(self) -> Iterator[Instance]:  # type: ignore[override]
        self.threads.add(threading.get_ident())
        yield from super().values()


async def test_many_instances_are_filtered_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    inventory = world_of(instance(n) for n in range(INSTANCES_ON_LOOP + 1)).inventory
    copied = ThreadRecordingDict(inventory.copied())
    monkeypatch.setattr(inventory, "copied", lambda: copied)
    found = await find(inventory, Filter(name="worker-9999"), 0)
    assert [i.name for i in found.rows] == ["worker-9999"]
    assert copied.threads
    assert threading.get_ident() not in copied.threads


async def test_alerts_are_listed_by_name_a_page_at_a_time(site: Site) -> None:
    site.daemon.world.alerts = {str(n): alert(region=f"r{n}") for n in range(70)} | {
        "p": alert("InstanceStuck", AlertState.PENDING)
    }
    page = await read(site, "/?show=alerts&name=RegionUnhealthy&offset=50")
    assert "51 to 70 of 70" in page.text
    assert "?show=alerts&name=RegionUnhealthy&offset=0" in page.values("href")
    assert "?show=alerts&name=InstanceStuck" in page.values("href")
    assert "InstanceStuck in general" not in page.text


async def test_placements_are_listed_by_state(site: Site) -> None:
    site.store.placements.put(*(placement(n) for n in range(60)), placement(60, State.RUNNING))
    page = await read(site, "/?show=placements&state=queued")
    assert "1 to 50 of 60" in page.text
    assert "worker-60" not in page.text
    assert "?show=placements&state=queued&offset=50" in page.values("href")


async def test_placements_are_not_known_without_the_store(site: Site) -> None:
    site.store.error = StoreUnavailableError("disk full")
    assert "placements are not known" in (await read(site, "/?show=placements")).text


@pytest.mark.parametrize(
    "query",
    ["show=nothing", "show=instances&offset=-1", "show=placements&state=odd", "show=instances&name=a&name=b"],
)
async def test_a_query_that_cannot_be_meant_is_refused_by_field(query: str, site: Site) -> None:
    answer = await site.get(f"/?{query}")
    assert answer.status == 400
    assert len(answer.fields) == 1


async def test_a_list_says_how_things_are_in_a_line(site: Site) -> None:
    site.daemon.world.alerts = {"1": alert(severity="critical")}
    assert "1 critical alert is firing" in (await read(site, "/?show=instances")).text
