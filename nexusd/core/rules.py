"""What a rule is, what it is judged from, and what it may say. The rules themselves are in `rules_*.py`,
the table of all of them in `rules_default`, the state machine in `alerts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import msgspec

from nexusd.core.backlog import Backlog
from nexusd.core.errors import NexusdError
from nexusd.core.inventory import Inventory
from nexusd.core.lifecycle import Placement, State
from nexusd.core.limits import NO_LIMITS, InstanceLimits, InstanceUsage
from nexusd.core.polls import INSTANCES, REGIONS, PollState
from nexusd.core.records import RUNNING, Fleet, Instance, Region
from nexusd.core.regions import RegionSnapshot
from nexusd.core.suspension import NOT_SUSPENDED, Suspensions
from nexusd.core.sweeps import Delta

Where = Callable[[Any], bool]
"""A compiled `where` over an `Instance`, a `Region` or a `Fleet`, as the rule is about one or the other. May
raise `NexusdError` when a record lacks what the expression asks for.
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that rules are judged from, at one time.

    `polls` and `regions` are as they will be after this pass. `inventory` is as it was before it: what a
    complete sweep changes is in `delta` (None when this pass has no sweep), because alerts are decided
    before the inventory changes, in the same commit. `stopped_running`: ids of the instances that were seen
    running and later, before this pass, not. `looked_at`: ids of the instances that this pass judges; the
    others are as they were. `key_refused`: what the last create said of a bad key, "" when creates do not
    refuse it. `placements`: those queued and held, and those that failed within the longest `resolve_after`;
    None when they were not read. `unlooked`: how many there are beyond these, by state. `backlog`: what
    receivers have not got; as `placements`. `fleets`: those declared, as they will be.
    `shared_names`: the placement that found several instances of its name, by name. `usage`: how much of the
    `limits` on instances is used; None if unknown.
    `evaluated_from`: start of the older of the two latest snapshots (regions, instances) that rules have
    evaluated completely, this pass included.
    """

    now: float
    polls: Mapping[str, PollState]
    regions: RegionSnapshot
    inventory: Inventory
    stopped_running: AbstractSet[str] = frozenset()
    delta: Delta | None = None
    looked_at: AbstractSet[str] = frozenset()
    key_refused: str = ""
    placements: tuple[Placement, ...] | None = None
    unlooked: Mapping[State, int] = field(default_factory=dict)
    backlog: tuple[Backlog, ...] | None = None
    fleets: tuple[Fleet, ...] = ()
    shared_names: Mapping[str, Placement] = field(default_factory=dict)
    limits: InstanceLimits = NO_LIMITS
    usage: InstanceUsage | None = None
    evaluated_from: float = float("-inf")

    @property
    def suspensions(self) -> Suspensions:
        """Suspensions of this process, in which nothing was observed."""
        return next((poll.suspensions for poll in self.polls.values()), NOT_SUSPENDED)

    @property
    def regions_known(self) -> bool:
        """Whether the region data is recent enough to decide on."""
        poll = self.polls.get(REGIONS)
        return poll is not None and self.regions.observed_at is not None and not poll.stale(self.now)

    @property
    def instances_known(self) -> bool:
        """Whether the instance data is recent enough to decide on, and not held back."""
        if self.delta is not None:
            return self.delta.hold is None
        poll = self.polls.get(INSTANCES)
        return poll is not None and not poll.stale(self.now) and self.inventory.hold is None

    def instance(self, instance_id: str) -> Instance | None:
        """The instance as it will be after this pass, None when it is gone or was never there."""
        if self.delta is None or instance_id not in self.delta.upserts:
            gone = self.delta is not None and instance_id in self.delta.vanished
            return None if gone else self.inventory.get(instance_id)
        return self.delta.upserts[instance_id]

    def seen_running(self, instance_id: str) -> bool:
        """Whether it was running in this or any earlier snapshot."""
        if instance_id in self.stopped_running:
            return True
        before = self.inventory.get(instance_id)
        return before is not None and before.status == RUNNING

    def touched(self, instance_id: str) -> bool:
        """Whether this pass judges that instance, or it is gone."""
        return instance_id in self.looked_at or self.instance(instance_id) is None

    def touched_instances(self) -> Iterator[Instance]:
        """The instances that this pass judges, as they will be after it."""
        for instance_id in self.looked_at:
            instance = self.instance(instance_id)
            if instance is not None:
                yield instance


def evaluated_from(*began_at: float | None) -> float:
    """Return the start of the oldest snapshot, -inf while one was never evaluated."""
    return min(at if at is not None else float("-inf") for at in began_at)


class Finding(msgspec.Struct, frozen=True, gc=False):
    """A condition that holds now. `labels` identify it and are not only for show: no value that moves.

    `wait_s`: how long it must hold beyond the rule's own `for` before it fires.
    """

    labels: Mapping[str, str]
    summary: str
    description: str
    wait_s: float = 0.0


def anything(_subject: str) -> bool:
    """Every subject was looked at."""
    return True


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a rule says of the facts.

    `known` False: the data is stale, so alerts stay exactly as they are. `unknown`: likewise for these
    subjects only. `touched` tells which subjects were looked at; the others are as they were at the last
    pass, on data that is fresh. `due`: when the answer changes by the passing of time alone.
    """

    findings: Sequence[Finding] = ()
    known: bool = True
    unknown: AbstractSet[str] = frozenset()
    touched: Callable[[str], bool] = anything
    due: float | None = None


NOTHING_FOUND = Judgement()
UNKNOWN = Judgement(known=False)


@dataclass(frozen=True, slots=True)
class Condition:
    """A rule's condition.

    `subject_label`: the label that names what an alert is about, "" when there is but one. `continues`:
    whether a firing alert goes on though its finding is no longer made. `momentary`: the finding is made
    once, when it happens. `threshold_is_wait`: the threshold is a time the finding must have held; the alert
    is latent for the first half of it. `timed`: `resolve_after` is part of the condition, which may begin
    anew before the alert has ended.
    """

    judge: Callable[[Facts, Rule], Judgement]
    subject_label: str = ""
    continues: Callable[[Facts, str], bool] | None = None
    momentary: bool = False
    threshold_is_wait: bool = False
    timed: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as configured (product.md, section 4). Durations in seconds.

    `threshold`: milliseconds for a latency, seconds for a duration, None where the rule has none.
    `resolve_after_s`: how long it fires at most though its condition stays; None: as long as it holds.
    `labels` and `annotations` are the operator's additions; what identifies an alert cannot be replaced.
    """

    name: str
    condition: Condition
    severity: str
    enabled: bool = True
    for_s: float = 0.0
    keep_firing_for_s: float = 0.0
    threshold: float | None = None
    where: Where | None = None
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    resolve_after_s: float | None = None
    runbook_url: str = ""

    @property
    def latent_s(self) -> float:
        """Seconds a finding must hold before its alert is pending.

        It is half of a threshold that is a wait.
        """
        return self.threshold / 2 if self.condition.threshold_is_wait and self.threshold is not None else 0.0

    @property
    def wait_s(self) -> float:
        """How long a finding must hold before it fires."""
        if self.condition.threshold_is_wait and self.threshold is not None:
            return self.for_s + self.threshold
        return self.for_s

    def admits(self, record: Instance | Region | Fleet) -> bool:
        """Whether `where` lets the record through. One that cannot be judged is let through: an alert too
        many is the lesser evil.
        """
        if self.where is None:
            return True
        try:
            return self.where(record)
        except NexusdError:
            return True
