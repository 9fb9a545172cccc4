"""A scene that alerts are played in: answers come in, time passes, rules are evaluated after each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from nexusd.core.after_sweep import after
from nexusd.core.alerts import Alert, AlertState
from nexusd.core.backlog import Backlog
from nexusd.core.comparing import compare
from nexusd.core.evaluation import AlertUpdate, evaluate
from nexusd.core.fleets import Fleets, FleetSpec, fleet_records
from nexusd.core.inventory import Inventory
from nexusd.core.judging import Unjudged
from nexusd.core.lifecycle import Placement
from nexusd.core.polls import INSTANCES, REGIONS, PollState
from nexusd.core.records import RUNNING, Instance, Region
from nexusd.core.regions import NO_REGIONS, RegionList, next_snapshot
from nexusd.core.rules import Facts, Rule
from nexusd.core.rules_default import DEFAULT_RULES
from nexusd.core.sweeps import Sweep, SweepPolicy

START = 1_000_000.0
EU = Region("eu-west-2", "London, UK", "healthy", 45.0, capacity=True)
US = Region("us-east-1", "Virginia, US", "healthy", 12.0, capacity=True)


def instance(number: int = 1, status: str = RUNNING) -> Instance:
    return Instance(f"inst_{number}", f"web-{number}", status, "us-east-1")


class Scene:
    """Regions are polled every 15 s and instances every 30 s; `alerts` are as a store would keep them."""

    def __init__(self, *rules: Rule) -> None:
        self.rules: tuple[Rule, ...] = rules or tuple(DEFAULT_RULES.values())
        self.now = START
        self.alerts: dict[str, Alert] = {}
        self.region_snapshot = NO_REGIONS
        self.inventory = Inventory()
        self.stopped_running: set[str] = set()
        self.fleets: tuple[FleetSpec, ...] = ()
        self.placements: tuple[Placement, ...] = ()
        self.backlog: tuple[Backlog, ...] = ()
        self.key_refused = ""
        self.shared_names: dict[str, Placement] = {}
        self.last = AlertUpdate({})
        self.unjudged = Unjudged()
        self._begin()

    def _begin(self) -> None:
        self.polls = {
            REGIONS: PollState(REGIONS, 15.0, known_since=self.now),
            INSTANCES: PollState(INSTANCES, 30.0, known_since=self.now),
        }

    def restart(self) -> None:
        """Another process: what the store has is kept, what was only seen is not."""
        missed, instances = dict(self.inventory.missed), {i.id: i for i in self.inventory}
        self.inventory = Inventory(spec.name for spec in self.fleets)
        self.inventory.restore(instances, missed, self.now)
        self.unjudged.add_all()
        self._begin()

    def reconfigure(self, *rules: Rule) -> None:
        self.rules = rules
        self.unjudged.add_all()

    def declare(self, *fleets: FleetSpec) -> None:
        """These are the fleets that the configuration declares."""
        self.fleets = fleets
        self.inventory.count_fleets(spec.name for spec in fleets)

    def regions(self, *regions: Region) -> AlertUpdate:
        """The regions are read."""
        answer = RegionList(self.now, self.now, {r.slug: r for r in regions})
        self.region_snapshot, _ = next_snapshot(self.region_snapshot, answer)
        self.polls[REGIONS] = self.polls[REGIONS].succeeded(self.now, 0.1)
        return self.evaluate()

    def sweep(self, *instances: Instance) -> AlertUpdate:
        """A complete sweep lists these."""
        sweep = Sweep(self.now, self.now, {i.id: i for i in instances})
        delta = compare(self.inventory, sweep, SweepPolicy())
        self.polls[INSTANCES] = self.polls[INSTANCES].succeeded(self.now, 0.1)
        update = self.evaluate(delta=delta)
        self.stopped_running |= after(self.inventory, delta, self.stopped_running).stopped_running
        self.inventory.apply(delta)
        return update

    def fail(self, resource: str, reason: str = "timeout", *, answered: bool = False) -> AlertUpdate:
        """A poll fails; `answered`: some page of it was read."""
        at = self.now if answered else None
        self.polls[resource] = self.polls[resource].failed(reason, f"it is {reason}", at, 0.1, self.now)
        return self.evaluate()

    def evaluate(self, **more: object) -> AlertUpdate:
        facts = Facts(
            self.now,
            self.polls,
            self.region_snapshot,
            self.inventory,
            frozenset(self.stopped_running),
            key_refused=self.key_refused,
            shared_names=self.shared_names,
            placements=self.placements,
            backlog=self.backlog,
        )
        self.last = evaluate(self.rules, self.looked_at(replace(facts, **more)), self.alerts)  # type: ignore[arg-type]
        self.alerts = dict(self.last.alerts)
        return self.last

    def looked_at(self, facts: Facts) -> Facts:
        """The facts with the instances that are judged, and with the fleets."""
        taken = self.unjudged.take(self.inventory, facts.delta)
        self.unjudged.judged(known=facts.instances_known)
        fleets = fleet_records(Fleets(self.fleets), self.inventory, facts.delta)
        return replace(facts, looked_at=taken, fleets=fleets)

    def later(self, seconds: float) -> Scene:
        self.now += seconds
        return self

    def told(self) -> None:
        """Everybody was told of what was resolved."""
        over = (AlertState.RESOLVED, False)
        self.alerts = {f: a for f, a in self.alerts.items() if (a.state, a.expired) != over}

    def state(self, name: str) -> str | None:
        """The state of the one alert of that name, None when there is none."""
        states = [a.state.value for a in self.alerts.values() if a.name == name]
        assert len(states) <= 1
        return states[0] if states else None

    def alert(self, name: str) -> Alert:
        return next(a for a in self.alerts.values() if a.name == name)

    def count(self, name: str, state: AlertState = AlertState.FIRING) -> int:
        return sum(a.name == name and a.state is state for a in self.alerts.values())


def only(name: str, **changes: object) -> Rule:
    """One built-in rule, changed."""
    return replace(DEFAULT_RULES[name], **changes)  # type: ignore[arg-type]


def firing(alerts: Iterable[Alert]) -> set[str]:
    return {a.name for a in alerts if a.state is AlertState.FIRING}
