"""Who counts for a spread group in a region (product.md, section 3: open placements and those in doubt)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from nexusd.core.identifiers import fleet_of
from nexusd.core.inventory import Inventory
from nexusd.core.lifecycle import OPEN, State
from nexusd.core.names import MIN_CUT_BYTES
from nexusd.core.records import TERMINATED


@dataclass(frozen=True, slots=True)
class Member:
    """One placement of the group, and where it is or may be. `instance_id` None: none is known."""

    region: str
    state: State
    name: str
    instance_id: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """The placements of a group that may have an instance.

    `members`: the open ones, and those closed a short while ago. `settled`: how many of the others have an
    instance that lives, by region; but for those of fleets, all of whose instances count.
    """

    members: Sequence[Member] = ()
    settled: Mapping[str, int] = field(default_factory=dict)


def count_members(group: Group, inventory: Inventory, fleets: Collection[str] = ()) -> Counter[str]:
    """By region: open placements, for what they may have made, and closed ones whose instance still lives.

    `fleets`: those that spread in this group. All of their instances count, adopted ones too.
    """
    counts = Counter(group.settled)
    for fleet in fleets:
        for (region, status), number in inventory.fleet(fleet).items():
            counts[region] += number if status != TERMINATED else 0
    for member in group.members:
        if fleet_of(member.name) in fleets:
            counts[member.region] += member.state in OPEN and not _listed(member, inventory)
        else:
            counts[member.region] += member.state in OPEN or _lives(member, inventory)
    return counts


def _listed(member: Member, inventory: Inventory) -> bool:
    """Return whether its instance is listed.

    One of the same name in another region is another's.
    """
    similar = inventory.similar(member.name, MIN_CUT_BYTES)
    return any(i.live and i.region == member.region for i in similar)


def _lives(member: Member, inventory: Inventory) -> bool:
    instance = inventory.get(member.instance_id) if member.instance_id is not None else None
    return instance is not None and instance.live
