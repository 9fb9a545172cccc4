"""The emulated regions: base values, how latency wanders, and what faults lay over them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from nexusd.core.errors import NotFoundError
from nexusd.emulator.effects import RegionChange
from nexusd.emulator.options import RegionSpec

_PULL = 0.8  # how much of its distance from the base a latency keeps from one reading to the next
_CLOSED = frozenset({"down", "offline", "unavailable", "maintenance"})


@dataclass(slots=True)
class _Wander:
    """A latency's distance from its base: random steps that are pulled back, at most three jitters away."""

    rng: random.Random
    jitter_ms: float
    distance_ms: float = 0.0

    def step(self) -> float:
        if self.jitter_ms:
            moved = self.distance_ms * _PULL + self.rng.gauss(0, self.jitter_ms)
            self.distance_ms = max(-3 * self.jitter_ms, min(3 * self.jitter_ms, moved))
        return self.distance_ms


class Regions:
    """All regions by slug, in the order they are listed."""

    def __init__(self, specs: Iterable[RegionSpec], seed: int, jitter_ms: float) -> None:
        self._specs = {spec.slug: spec for spec in specs}
        self._seed = seed
        self._jitter_ms = jitter_ms
        self._wander: dict[str, _Wander] = {}

    def put(self, spec: RegionSpec) -> None:
        self._specs[spec.slug] = spec

    def get(self, slug: str) -> RegionSpec:
        """Raises `NotFoundError`."""
        try:
            return self._specs[slug]
        except KeyError:
            raise NotFoundError(f"the emulated cloud has no region {slug!r}") from None

    def change(self, change: RegionChange) -> None:
        """Change a region for good. Raises `NotFoundError`."""
        self._specs[change.slug] = _changed(self.get(change.slug), change)

    def remove(self, slug: str) -> None:
        """Take it off the list. Raises `NotFoundError`."""
        self.get(slug)
        del self._specs[slug]

    def effective(self, changes: Iterable[RegionChange]) -> dict[str, RegionSpec]:
        """The regions as they are under the changes of the active faults."""
        specs = dict(self._specs)
        for change in changes:
            if change.slug not in specs:
                continue
            if change.gone:
                del specs[change.slug]
            else:
                specs[change.slug] = _changed(specs[change.slug], change)
        return specs

    def read(self, changes: Iterable[RegionChange]) -> list[dict[str, object]]:
        """The records of `GET /regions`. Each reading lets every latency wander one step."""
        return [self._record(spec) for spec in self.effective(changes).values()]

    def take_slot(self, slug: str) -> None:
        """One more instance is in the region."""
        spec = self.get(slug)
        if spec.slots is not None:
            self._specs[slug] = replace(spec, slots=spec.slots - 1)

    def _record(self, spec: RegionSpec) -> dict[str, object]:
        latency_ms = max(1.0, spec.latency_ms + self._wander_of(spec.slug).step())
        return {
            "slug": spec.slug,
            "name": spec.name,
            "status": spec.status,
            "avg_latency_ms": round(latency_ms) if self._jitter_ms else _plain(spec.latency_ms),
            "capacity": has_capacity(spec),
        }

    def _wander_of(self, slug: str) -> _Wander:
        if slug not in self._wander:
            rng = random.Random(f"{self._seed}:latency:{slug}")  # noqa: S311 - repeatable on purpose
            self._wander[slug] = _Wander(rng, self._jitter_ms)
        return self._wander[slug]


def has_capacity(spec: RegionSpec) -> bool:
    return spec.capacity and (spec.slots is None or spec.slots > 0)


def is_closed(spec: RegionSpec) -> bool:
    """Whether the status means that nothing can be made there; a `degraded` region still takes instances."""
    return spec.status in _CLOSED


def _changed(spec: RegionSpec, change: RegionChange) -> RegionSpec:
    return replace(
        spec,
        status=spec.status if change.status is None else change.status,
        latency_ms=spec.latency_ms if change.latency_ms is None else change.latency_ms,
        capacity=spec.capacity if change.capacity is None else change.capacity,
        slots=None if change.capacity else spec.slots,
    )


def _plain(number: float) -> float | int:
    return int(number) if number == int(number) else number
