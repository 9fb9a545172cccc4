"""Random sequences of sweeps against a model that looks at the whole history, and broken rules it catches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from nexusd.core.changes import InstanceAppeared, InstanceStatusChanged, InstanceVanished
from nexusd.core.comparing import compare
from nexusd.core.inventory import Inventory
from nexusd.core.names import canonical
from nexusd.core.records import Instance
from nexusd.core.sweeps import Delta, SweepPolicy
from tests.core.inventories import POLICY, Model, Watcher, instance, restarted, sweep
from tests.effort import examples

NAMES = ("web", "db", "")
STATUSES = ("running", "stopped", "terminated", "resizing")
REGIONS = ("us-east-1", "eu-west-2")
LARGEST = 40

Seen = dict[str, Instance]


@dataclass(frozen=True)
class Step:
    """What happens to the fleet before one sweep, which numbers the listing leaves out (from, to), and how
    often the same is seen.
    """

    changed: list[Instance]
    removed: list[int]
    lacking: tuple[int, int]
    times: int


@dataclass(frozen=True)
class History:
    """A fleet that has `size` instances in the first sweep, and what then becomes of it."""

    size: int
    steps: list[Step]

    def sweeps(self) -> Iterator[Seen]:
        fleet: Seen = {str(n): instance(n) for n in range(self.size)}
        yield dict(fleet)
        for step in self.steps:
            fleet.update((record.id, record) for record in step.changed)
            for number in step.removed:
                fleet.pop(str(number), None)
            first, end = step.lacking
            yield from [{i: r for i, r in fleet.items() if not first <= int(i) < end}] * step.times


numbers = st.integers(0, LARGEST - 1)
records = st.builds(
    instance, numbers, st.sampled_from(NAMES), st.sampled_from(STATUSES), st.sampled_from(REGIONS)
)
steps = st.builds(
    Step,
    st.lists(records, max_size=3),
    st.lists(numbers, max_size=3),
    st.sampled_from(((0, 0), (0, 0), (0, 11), (0, 14), (5, 20), (0, LARGEST), (20, 40))),
    st.integers(1, 3),
)
histories = st.builds(History, st.sampled_from((0, 5, 12, LARGEST)), st.lists(steps, min_size=1, max_size=9))


def disagrees(history: History, policy: SweepPolicy = POLICY) -> bool:
    """Whether the inventory ends up with anything else than the model at any sweep."""
    model, watcher = Model(), Watcher(policy)
    for seen in history.sweeps():
        model.see(seen)
        watcher.see(seen.values())
        if {i.id: i for i in watcher.inventory} != model.known:
            return True
    return False


@given(histories)
@settings(max_examples=examples(300), deadline=None)
def test_the_inventory_is_what_the_model_says_after_every_sweep(history: History) -> None:
    assert not disagrees(history)


BROKEN = {
    "one sweep is enough": SweepPolicy(vanish_after_sweeps=1),
    "three sweeps are needed": SweepPolicy(vanish_after_sweeps=3),
    "nothing is held back": SweepPolicy(mass_share=1.0),
    "the share is too small": SweepPolicy(mass_share=0.25),
    "the count is too small": SweepPolicy(mass_count=5),
    "two sweeps that agree are believed": SweepPolicy(mass_sweeps=2),
    "four sweeps must agree": SweepPolicy(mass_sweeps=4),
}


@pytest.mark.parametrize("policy", BROKEN.values(), ids=BROKEN)
def test_the_model_catches_a_broken_policy(policy: SweepPolicy) -> None:
    assert caught(lambda history: disagrees(history, policy))


def caught(wrong: Callable[[History], bool]) -> bool:
    found = settings(
        max_examples=2000,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    return bool(find(histories, wrong, settings=found))


@pytest.mark.slow
def test_the_model_catches_misses_that_are_counted_across_a_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Inventory.apply

    def counted_across(self: Inventory, delta: Delta) -> None:
        missed = dict(self.missed)
        apply(self, delta)
        if delta.hold is not None:
            self._missed = missed

    monkeypatch.setattr(Inventory, "apply", counted_across)
    assert caught(disagrees)


def test_the_model_catches_instances_that_are_never_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Inventory.apply

    def unforgiving(self: Inventory, delta: Delta) -> None:
        missed = {i: self.missed[i] for i in delta.returned}
        apply(self, delta)
        self._missed.update(missed)

    monkeypatch.setattr(Inventory, "apply", unforgiving)
    assert caught(disagrees)


def assert_indexes_are_right(inventory: Inventory) -> None:
    recount = Counter((i.region, i.status) for i in inventory)
    live = Counter(i.region for i in inventory if i.live)
    assert dict(inventory.counts) == recount
    assert dict(inventory.live_by_region) == live
    assert all(inventory.in_region(region) == live[region] for region in REGIONS)
    by_name: dict[str, set[str]] = {}
    for i in inventory:
        by_name.setdefault(i.name, set()).add(i.id)
    assert {name: {i.id for i in inventory.named(name)} for name in by_name} == by_name
    assert inventory._by_name._ids.keys() == by_name.keys()
    forms = {name: canonical(name) for name in by_name}
    assert inventory._by_canonical_name._ids.keys() == {f for name, f in forms.items() if f != name}
    for name, form in forms.items():
        alike = {key for other, keys in by_name.items() if forms[other] == form for key in keys}
        assert {i.id for i in inventory.similar(name, 60)} == alike
    assert inventory.missed.keys() <= {i.id for i in inventory}


@given(histories)
@settings(max_examples=examples(150), deadline=None)
def test_counts_and_names_always_equal_a_recount(history: History) -> None:
    watcher = Watcher()
    for seen in history.sweeps():
        watcher.see(seen.values())
        assert_indexes_are_right(watcher.inventory)


@given(histories)
@settings(max_examples=examples(100), deadline=None)
def test_a_sweep_that_lacks_nothing_is_empty_when_seen_again(history: History) -> None:
    watcher = Watcher()
    for seen in history.sweeps():
        watcher.see(seen.values())
    everything = sweep(watcher.inventory, watcher.at + 30.0)
    watcher.inventory.apply(compare(watcher.inventory, everything, POLICY))
    assert compare(watcher.inventory, everything, POLICY) == Delta(everything)


@given(histories)
@settings(max_examples=examples(150), deadline=None)
def test_changes_tell_exactly_how_the_snapshot_differs(history: History) -> None:
    watcher = Watcher()
    first, *later = history.sweeps()
    watcher.see(first.values())
    for seen in later:
        before = {i.id: i for i in watcher.inventory}
        changes = watcher.see(seen.values()).changes
        after = {i.id: i for i in watcher.inventory}
        appeared = {c.instance.id for c in changes if isinstance(c, InstanceAppeared)}
        vanished = {c.instance.id for c in changes if isinstance(c, InstanceVanished)}
        changed = {c.instance.id for c in changes if isinstance(c, InstanceStatusChanged)}
        assert appeared == after.keys() - before.keys()
        assert vanished == before.keys() - after.keys()
        assert changed == {i for i in before.keys() & after.keys() if before[i].status != after[i].status}
        assert len(changes) == len(appeared) + len(vanished) + len(changed)


@given(histories)
@settings(max_examples=examples(100), deadline=None)
def test_the_delta_applied_to_a_plain_dictionary_gives_the_snapshot(history: History) -> None:
    """What the store keeps (upserts, misses, gone) is the inventory."""
    watcher = Watcher()
    kept: Seen = {}
    missed: dict[str, int] = {}
    for seen in history.sweeps():
        delta = watcher.see(seen.values())
        kept.update(delta.upserts)
        missed.update(delta.missed)
        for gone in delta.vanished:
            del kept[gone]
        missed = {i: n for i, n in missed.items() if i not in delta.returned | delta.vanished}
        assert kept == {i.id: i for i in watcher.inventory}
        assert missed == dict(watcher.inventory.missed)


@given(histories, st.integers(0, 20))
@settings(max_examples=examples(100), deadline=None)
def test_whatever_vanishes_around_a_restart_was_lacking_twice_in_a_row(
    history: History, restart_at: int
) -> None:
    """Not later than without it: a mass that was being confirmed is counted anew, and what is a mass depends
    on how many are known.
    """
    watcher = Watcher()
    before: Seen = {}
    for number, seen in enumerate(history.sweeps()):
        if number == restart_at:
            watcher = restarted(watcher)
        lost = watcher.see(seen.values()).vanished
        assert lost.isdisjoint(before.keys() | seen.keys())
        assert_indexes_are_right(watcher.inventory)
        before = seen


def test_thousands_of_outages_with_churn_lose_nothing() -> None:
    """I5: an API that answers an empty list for one or two sweeps, while instances come and go."""
    watcher = Watcher()
    fleet = {str(n): instance(n) for n in range(60)}
    watcher.see(fleet.values())
    for outage in range(2000):
        fleet[f"new-{outage}"] = instance(f"new-{outage}")
        ended = next(iter(fleet))
        del fleet[ended]
        lost = {i for _ in range(1 + outage % 2) for i in watcher.see([]).vanished}
        assert not lost
        watcher.see(fleet.values())
        assert watcher.see(fleet.values()).vanished == {ended}
        assert watcher.ids == fleet.keys()
