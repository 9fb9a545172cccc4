"""`GET /api/v1/fleets`: what is declared, what there is of it, and what a fleet waits for.

Planned by the same function as the fleets are kept by, from the last listing and from the store; nothing is
done about it here.
"""

from __future__ import annotations

from collections import Counter

from aiohttp import web

from nexusd.core.fleets import FleetState, plan_fleets
from nexusd.core.region_names import constraint_warnings
from nexusd.core.world import World
from nexusd.ports import Clock, Daemon, Store
from nexusd.web import schemas
from nexusd.web.answers import answer
from nexusd.web.metrics import INSTANCE_STATUSES
from nexusd.web.options import WebOptions
from nexusd.web.queries import page
from nexusd.web.shapes import Shaper, constraints_shape, list_shape
from nexusd.web.tallies import within

MAX_PLACEMENTS = 100
"""Placements of one fleet that are listed one by one; `in_flight` counts all."""


class FleetRoutes:
    def __init__(self, options: WebOptions, daemon: Daemon, store: Store, clock: Clock) -> None:
        self._options = options
        self._daemon = daemon
        self._store = store
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/api/v1/fleets", self.list)]

    async def list(self, request: web.Request) -> web.Response:
        """In the order of the configuration."""
        limit, offset = page(request)
        states = await read_fleets(
            self._daemon.world, self._store, self._clock, (limit, offset), self._options.store_timeout_s
        )
        world = self._daemon.world
        shaper = Shaper(self._clock.now(), self._clock.utc_offset_s())
        rows = [_fleet(state, world, shaper) for state in states]
        content: schemas.ObservedPage[schemas.Fleet] = {
            **list_shape(rows, len(world.fleets.specs), limit, offset),
            "observed_at": shaper.time(world.inventory.observed_at),
        }
        return answer(content)


async def read_fleets(
    world: World, store: Store, clock: Clock, part: tuple[int, int], timeout_s: float
) -> list[FleetState]:
    """The fleets of one page (limit, offset). Raises `StoreError` when the store does not answer."""
    limit, offset = part
    fleets = world.fleets
    names = fleets.names[offset : offset + limit]
    if not names:
        return []
    placements = await within(
        timeout_s, store.read(lambda tx: tx.placements.of_fleets(names, count_made=True))
    )
    return plan_fleets(fleets, world.inventory, placements, clock.now())


def alive_by_region(state: FleetState, world: World) -> dict[str, int]:
    """How many of the fleet are alive in each region that has some, by slug."""
    counts: Counter[str] = Counter()
    for (region, status), count in world.inventory.fleet(state.spec.name).items():
        if state.spec.counts(status):
            counts[region] += count
    return dict(sorted(counts.items()))


def _fleet(state: FleetState, world: World, shaper: Shaper) -> schemas.Fleet:
    spec = state.spec
    return {
        "name": spec.name,
        "count": spec.count,
        "plan": spec.plan,
        "image": spec.image,
        "ssh_keys": spec.ssh_keys,
        "constraints": constraints_shape(spec.request("")),
        "replace_stopped": spec.replace_stopped,
        "max_replacements": spec.max_replacements,
        "alive": state.alive,
        "in_flight": len(state.in_flight),
        "missing": state.missing,
        "surplus": state.surplus,
        "adopted": state.adopted,
        "by_region": alive_by_region(state, world),
        "by_status": _by_status(spec.name, world),
        "reason": state.reason,
        "next_try_at": shaper.time(state.next_try_at),
        "warnings": constraint_warnings(spec.regions, spec.avoid_regions, world.regions),
        "placements": [
            {
                "id": placement.id,
                "name": placement.request.name,
                "state": placement.state,
                "region": placement.region,
                "reason": placement.reason,
                "created_at": shaper.time(placement.created_at),
            }
            for placement in state.in_flight[:MAX_PLACEMENTS]
        ],
    }


def _by_status(fleet: str, world: World) -> dict[str, int]:
    """Terminated ones included, for as long as the cloud lists them."""
    counts: Counter[str] = Counter(dict.fromkeys(INSTANCE_STATUSES, 0))
    for (_, status), count in world.inventory.fleet(fleet).items():
        counts[status] += count
    return dict(counts)
