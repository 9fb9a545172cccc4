"""The stored regions and which of them cool off (`ports.RegionsTable`)."""

from __future__ import annotations

import sqlalchemy as sa

from nexusd.core.cooling import CoolingOff, Place
from nexusd.core.records import Region
from nexusd.core.regions import KnownRegion, RegionSnapshot
from nexusd.store.instances import MARK, OBSERVED
from nexusd.store.schema import coolings, regions
from nexusd.store.statements import Session, Upsert, Values, given

RESOURCE = "regions"

_RECORD = ("slug", "name", "status", "latency_ms", "capacity", "left_at", "smoothed_ms")
_COOLING = ("region", "plan", "until", "step", "reason", "allowed")

_LOAD = sa.select(*(regions.c[name] for name in _RECORD))
_SAVE = Upsert(regions, _RECORD, _RECORD[1:])
_SLUGS = sa.select(regions.c.slug)
_DROP = sa.delete(regions).where(regions.c.slug == given("which", sa.Text))

_COOLINGS = sa.select(*(coolings.c[name] for name in _COOLING))
_COOL = Upsert(coolings, _COOLING, _COOLING[2:])
_CLEAR = sa.delete(coolings).where(
    coolings.c.region == given("which", sa.Text), coolings.c.plan == given("for_plan", sa.Text)
)


class Regions:
    def __init__(self, session: Session) -> None:
        self._session = session

    def load(self) -> RegionSnapshot:
        mark = self._session.first(OBSERVED, {"resource": RESOURCE})
        known = {
            slug: KnownRegion(Region(slug, name, status, latency_ms, bool(capacity)), left_at, smoothed_ms)
            for slug, name, status, latency_ms, capacity, left_at, smoothed_ms in self._session.rows(_LOAD)
        }
        return RegionSnapshot(mark[0] if mark else None, known)

    def save(self, snapshot: RegionSnapshot) -> None:
        """Replace what is stored by the snapshot."""
        stored = {row[0] for row in self._session.rows(_SLUGS)}
        self._session.many(_DROP, ({"which": slug} for slug in sorted(stored - snapshot.known.keys())))
        self._session.many(_SAVE, (_values(known) for known in snapshot.known.values()))
        if snapshot.observed_at is not None:
            self._session.execute(MARK, {"resource": RESOURCE, "observed_at": snapshot.observed_at})

    def cooling_off(self) -> dict[Place, CoolingOff]:
        found = [CoolingOff(**dict(zip(_COOLING, row, strict=True))) for row in self._session.rows(_COOLINGS)]
        return {cooling.place: cooling for cooling in found}

    def save_cooling_off(self, cooling: CoolingOff) -> None:
        self._session.execute(_COOL, {name: getattr(cooling, name) for name in _COOLING})

    def clear_cooling_off(self, place: Place) -> None:
        self._session.execute(_CLEAR, {"which": place[0], "for_plan": place[1]})


def _values(known: KnownRegion) -> Values:
    region = known.region
    return {
        "slug": region.slug,
        "name": region.name,
        "status": region.status,
        "latency_ms": region.latency_ms,
        "capacity": region.capacity,
        "left_at": known.left_at,
        "smoothed_ms": known.smoothed_ms,
    }
