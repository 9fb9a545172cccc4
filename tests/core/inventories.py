"""Builders for tests about inventories, and the model that they are held against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nexusd.core.comparing import compare
from nexusd.core.inventory import Inventory
from nexusd.core.records import Instance
from nexusd.core.sweeps import Delta, Sweep, SweepPolicy

POLICY = SweepPolicy()
INTERVAL_S = 30.0


def instance(
    number: int | str, name: str = "", status: str = "running", region: str = "us-east-1"
) -> Instance:
    return Instance(str(number), name or f"vm-{number}", status, region)


def fleet(*numbers: int) -> list[Instance]:
    return [instance(n) for n in numbers]


def sweep(instances: Iterable[Instance], at: float = 0.0) -> Sweep:
    return Sweep(at, at + 1.0, {i.id: i for i in instances})


@dataclass
class Watcher:
    """Feeds sweeps to an inventory as the cycle does, one every 30 s."""

    policy: SweepPolicy = POLICY
    inventory: Inventory = field(default_factory=Inventory)
    at: float = 0.0

    def see(self, instances: Iterable[Instance]) -> Delta:
        self.at += INTERVAL_S
        delta = compare(self.inventory, sweep(instances, self.at), self.policy)
        self.inventory.apply(delta)
        return delta

    @property
    def ids(self) -> set[str]:
        return {i.id for i in self.inventory}


def restarted(watcher: Watcher) -> Watcher:
    """What a new process makes of what the store kept of the old one."""
    inventory = Inventory()
    observed_at = watcher.inventory.observed_at
    if observed_at is not None:
        inventory.restore({i.id: i for i in watcher.inventory}, watcher.inventory.missed, observed_at)
    return Watcher(watcher.policy, inventory, watcher.at)


@dataclass
class Model:
    """The rule of product.md, section 2, from the whole history: an instance is gone when the last two
    complete sweeps lack it, or, where that was too much at once, the last three. Nothing is incremental.
    """

    known: dict[str, Instance] = field(default_factory=dict)
    history: list[Mapping[str, Instance]] = field(default_factory=list)  # since the last hold ended
    held: list[frozenset[str]] = field(default_factory=list)  # what was gone from each agreeing held sweep

    def see(self, now: Mapping[str, Instance]) -> None:
        live = {i for i, known in self.known.items() if known.live}
        gone = frozenset(live - now.keys())
        confirmed: frozenset[str] = frozenset()
        if self._too_many(gone, live):
            agreed = gone.intersection(*self.held)
            self.held = [*self.held, gone] if self._too_many(agreed, live) else [gone]
            if len(self.held) < 3:
                return
            confirmed = gone.intersection(*self.held)
        if self.held:
            self.history, self.held = [], []
        self.history.append(now)
        kept = {
            i: known
            for i, known in self.known.items()
            if i not in confirmed and (len(self.history) < 2 or any(i in seen for seen in self.history[-2:]))
        }
        self.known = {**kept, **now}

    @staticmethod
    def _too_many(gone: frozenset[str], live: set[str]) -> bool:
        return len(gone) > 10 and len(gone) > 0.3 * len(live)
