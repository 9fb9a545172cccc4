"""Which instances the rules look at in a pass. Kept by `cycle`.

Normally those that a sweep has changed. At start, under new rules, and when a sweep changes very many, they
wait in a queue and are looked at in the next passes, a bounded number in each, so that no pass takes long
whatever the fleet and the rules. Meanwhile their alerts are as the last pass left them.
"""

from __future__ import annotations

from nexusd.core.inventory import Inventory
from nexusd.core.sweeps import Delta

AT_ONCE = 1_000
"""A rule of the user's own takes about 10 µs an instance."""


class Unjudged:
    """The instances that are still to be looked at. At first all of them."""

    def __init__(self) -> None:
        self._all = True
        self._waiting: list[str] = []
        self._done = 0
        self._taken = 0

    def add_all(self) -> None:
        """Every instance anew, from the next pass on."""
        self._all = True

    def take(self, inventory: Inventory, delta: Delta | None) -> frozenset[str]:
        """The ids for this pass: what the sweep changed, and of those that wait as many as fit."""
        if self._all:
            self._all, self._waiting, self._done = False, list(inventory.ids), 0
        changed = list(delta.upserts) if delta is not None else []
        if len(changed) > AT_ONCE:
            self._waiting, self._done = [*self._waiting[self._done :], *changed], 0
            changed = []
        self._taken = min(len(self._waiting), self._done + AT_ONCE)
        return frozenset(changed + self._waiting[self._done : self._taken])

    @property
    def took_all(self) -> bool:
        """Whether the last `take` left none waiting."""
        return self._taken == len(self._waiting)

    def judged(self, *, known: bool) -> bool:
        """What was taken has been looked at; unless the instances are not `known`: then it waits on.

        Whether there is more to look at now.
        """
        if not known:
            return False
        self._done = self._taken
        if self._done == len(self._waiting):
            self._waiting, self._done = [], 0
        return self._all or bool(self._waiting)
