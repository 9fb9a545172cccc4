"""Who counts for a spread group in a region (product.md, section 3: open placements and those in doubt)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from nexusd.core.inventory import Inventory
from nexusd.core.lifecycle import OPEN, State


@dataclass(frozen=True, slots=True)
class Member:
    """One placement of the group, and where it is or may be. `instance_id` None: none is known."""

    region: str
    state: State
    name: str
    instance_id: str | None = None


def count_members(members: Iterable[Member], inventory: Inventory) -> Counter[str]:
    """By region: open placements, for what they may have made, and closed ones whose instance still lives."""
    counts: Counter[str] = Counter()
    for member in members:
        if member.state in OPEN or _lives(member, inventory):
            counts[member.region] += 1
    return counts


def _lives(member: Member, inventory: Inventory) -> bool:
    instance = inventory.get(member.instance_id) if member.instance_id is not None else None
    return instance is not None and instance.live
