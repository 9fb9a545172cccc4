"""Everything that is known at one time. The cycle owns it; the web and the workers read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nexusd.core.alerts import Alert
from nexusd.core.census import NONE_COUNTED, AlertCounts
from nexusd.core.cooling import Coolings
from nexusd.core.fleets import NO_FLEETS, Fleets
from nexusd.core.inventory import Inventory
from nexusd.core.lifecycle import Placement
from nexusd.core.limits import NO_LIMITS, InstanceLimits
from nexusd.core.muting import UNMUTED, Muting
from nexusd.core.pauses import NO_PAUSE, Pause
from nexusd.core.polls import PollState
from nexusd.core.records import Instance
from nexusd.core.regions import NO_REGIONS, RegionSnapshot
from nexusd.core.silences import Silence
from nexusd.core.suspension import Activity, Suspension

MAX_RESTART_S = 60.0
"""A shorter time without evaluation is as usual between two passes."""
INCUMBENTS_KEPT = 1024
SHARED_NAMES_KEPT = 1000
PLACED_PLANS_SPARE = 10_000
"""Plans of instances that are not listed: more are dropped."""


@dataclass(slots=True)
class World:
    """State of the daemon, replaced after each commit on the event loop.

    No reader sees half a pass.

    `restored`: the regions as an earlier process left them; how old they are its clock told, not this one.

    `polls` by resource, `cooling_off` by region and plan, `pause`: whether creates are sent at all,
    `incumbents`: the region chosen last, by constraint class, `alerts` by fingerprint (pending and firing
    ones, and resolved ones a while longer), `silences` by id (those that are not over), `muting`: what is not
    told, `alert_counts`: how many alerts there are of each kind, `stopped_running`: ids of the known
    instances that were seen running and later not, `fleets`: those declared in the configuration.
    `limits`: on how many instances may exist, and `placed_plans`: the plan of each instance that a placement
    made, by instance id. `shared_names`: the placement that found several instances of its name, by name.
    `activity`: when this process did not run.
    """

    polls: dict[str, PollState]
    inventory: Inventory = field(default_factory=Inventory)
    stopped_running: set[str] = field(default_factory=set)
    regions: RegionSnapshot = NO_REGIONS
    cooling_off: Coolings = field(default_factory=dict)
    alerts: Mapping[str, Alert] = field(default_factory=dict)
    silences: Mapping[str, Silence] = field(default_factory=dict)
    muting: Muting = UNMUTED
    alert_counts: AlertCounts = NONE_COUNTED
    restored: RegionSnapshot | None = None
    pause: Pause = NO_PAUSE
    incumbents: dict[str, str] = field(default_factory=dict)
    shared_names: dict[str, Placement] = field(default_factory=dict)
    fleets: Fleets = NO_FLEETS
    limits: InstanceLimits = NO_LIMITS
    placed_plans: dict[str, str] = field(default_factory=dict)
    activity: Activity = field(default_factory=Activity)

    def observe(self, now: float) -> None:
        """Detect whether the process was suspended until now.

        Data read before a suspension is stale.
        """
        self.activity.observe(now)
        self.polls = self.with_suspensions(self.polls)

    def miss(self, since: float | None) -> None:
        """Count the time before this process began as suspended.

        A gap as short as a restart is ignored.
        """
        began_at = min(poll.known_since for poll in self.polls.values())
        if since is not None and began_at - since > MAX_RESTART_S:
            self.activity.add(Suspension(since, began_at))
        self.polls = self.with_suspensions(self.polls)

    def with_suspensions(self, polls: Mapping[str, PollState]) -> dict[str, PollState]:
        """Return the polling state as of the latest suspension."""
        suspensions = self.activity.suspensions
        return {
            name: poll if poll.suspensions is suspensions else replace(poll, suspensions=suspensions)
            for name, poll in polls.items()
        }

    def known(self, instance_id: str) -> Instance | None:
        """The instance as it is known now."""
        return self.inventory.get(instance_id)

    def chose(self, constraint_class: str, region: str) -> None:
        """Remember the region chosen last for a class; of the most recent classes only."""
        self.incumbents.pop(constraint_class, None)
        self.incumbents[constraint_class] = region
        if len(self.incumbents) > INCUMBENTS_KEPT:
            del self.incumbents[next(iter(self.incumbents))]

    def found_several(self, placement: Placement) -> None:
        """Several instances bear its name where it was looked for; of the last so many it is remembered."""
        self.shared_names = {**self.shared_names, placement.request.name: placement}
        if len(self.shared_names) > SHARED_NAMES_KEPT:
            del self.shared_names[next(iter(self.shared_names))]

    def add_placed_plans(self, plans: Mapping[str, str]) -> None:
        """Remember the plans of placements' instances while these are listed."""
        self.placed_plans.update(plans)
        if len(self.placed_plans) > len(self.inventory) + PLACED_PLANS_SPARE:
            kept = {i: plan for i, plan in self.placed_plans.items() if i in self.inventory or i in plans}
            self.placed_plans = kept

    def declare(self, fleets: Fleets) -> None:
        """These are the fleets from now on, and the inventory counts their members."""
        if fleets.names != self.fleets.names:
            self.inventory.count_fleets(fleets.names)
        self.fleets = fleets
