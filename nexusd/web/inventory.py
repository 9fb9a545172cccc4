"""`GET /api/v1/regions` and `GET /api/v1/instances`: the snapshots. The store is not asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from aiohttp import web

from nexusd.core.inventory import Inventory
from nexusd.core.records import Instance
from nexusd.ports import Clock, Daemon
from nexusd.web import schemas
from nexusd.web.answers import answer
from nexusd.web.beside import about_instances
from nexusd.web.filters import check_region, check_status
from nexusd.web.queries import page, text
from nexusd.web.shapes import Shaper, instance_shape, list_shape, region_shape


class InventoryRoutes:
    def __init__(self, daemon: Daemon, clock: Clock) -> None:
        self._daemon = daemon
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/api/v1/regions", self.regions), web.get("/api/v1/instances", self.instances)]

    async def regions(self, _request: web.Request) -> web.Response:
        snapshot = self._daemon.world.regions
        judged = {c.region: c for c in self._daemon.eligibility()}
        shaper = Shaper(self._clock.now(), self._clock.utc_offset_s())
        content: schemas.Regions = {
            "regions": [region_shape(snapshot.known[r.slug], judged.get(r.slug)) for r in snapshot.listed],
            "observed_at": shaper.time(snapshot.observed_at),
        }
        return answer(content)

    async def instances(self, request: web.Request) -> web.Response:
        wanted = Filter(text(request, "region"), text(request, "status"), text(request, "name"))
        limit, offset = page(request)
        check_region(wanted.region, self._daemon.world)
        check_status(wanted.status, self._daemon.world)
        inventory = self._daemon.world.inventory
        observed_at = inventory.observed_at
        rows, total = await wanted.page(inventory, limit, offset)
        shaper = Shaper(self._clock.now(), self._clock.utc_offset_s())
        content: schemas.ObservedPage[schemas.Instance] = {
            **list_shape([instance_shape(i) for i in rows], total, limit, offset),
            "observed_at": shaper.time(observed_at),
        }
        return answer(content)


@dataclass(frozen=True, slots=True)
class Filter:
    """None matches all. Values are compared whole, as CloudNexus filters by region."""

    region: str | None = None
    status: str | None = None
    name: str | None = None

    async def page(self, inventory: Inventory, limit: int, offset: int) -> tuple[list[Instance], int]:
        """One page in the order instances were first seen, and how many match in all.

        Never sorts. The total comes from the snapshot's own counts, so that a page reads the instances up
        to its end only, and a page past the total none. Where those are many, they are read on a thread.
        """
        if self.name is not None:
            named = [i for i in inventory.named(self.name) if self.matches(i)]
            return named[offset : offset + limit], len(named)
        total = sum(n for key, n in inventory.counts.items() if self._counted(*key))
        end = min(offset + limit, total)
        if offset >= end:
            return [], total
        if self == _ALL:
            return list(islice(inventory, offset, end)), total

        def rows(instances: Iterable[Instance]) -> list[Instance]:
            return list(islice(filter(self.matches, instances), offset, end))

        evenly_spread = end * len(inventory) // total
        return await about_instances(evenly_spread, rows, inventory), total

    def matches(self, instance: Instance) -> bool:
        return self._counted(instance.region, instance.status)

    def _counted(self, region: str, status: str) -> bool:
        return self.region in (None, region) and self.status in (None, status)


_ALL = Filter()
