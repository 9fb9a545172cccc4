"""What holds of alerts whatever happens, and that the checks notice a machine that is wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd.core import flapping
from nexusd.core.alerts import Alert, AlertState, fingerprint
from nexusd.core.polls import INSTANCES, REGIONS
from nexusd.core.records import Instance, Region
from nexusd.core.rules import Condition, Facts, Judgement, Rule
from nexusd.core.rules_default import DEFAULT_RULES
from tests.core.alert_scenes import Scene, instance
from tests.effort import examples

RULES = tuple(
    replace(DEFAULT_RULES[name], for_s=for_s, keep_firing_for_s=keep_s, resolve_after_s=resolve_s)
    for name, for_s, keep_s, resolve_s in (
        ("CloudAPIUnreachable", 0.0, 0.0, None),
        ("SnapshotStale", 0.0, 0.0, None),
        ("MassDisappearance", 0.0, 0.0, None),
        ("RegionUnhealthy", 40.0, 25.0, None),
        ("InstanceStopped", 20.0, 0.0, 120.0),
        ("InstanceTerminated", 0.0, 30.0, 120.0),
        ("InstanceVanished", 0.0, 0.0, 90.0),
        ("InstanceStuck", 0.0, 0.0, None),
    )
)
STATUSES = ("running", "stopped", "terminated", "pending", None)
HEALTH = ("healthy", "degraded", None)


@dataclass(frozen=True)
class Step:
    """`what`: regions, sweep, fail, wait, restart. None as a status: it is not listed."""

    what: str
    wait_s: float
    statuses: tuple[str | None, ...] = ()


def steps() -> st.SearchStrategy[list[Step]]:
    wait_s = st.sampled_from((1.0, 15.0, 30.0, 100.0))
    return st.lists(
        st.one_of(
            st.builds(Step, st.just("sweep"), wait_s, st.tuples(*[st.sampled_from(STATUSES)] * 3)),
            st.builds(Step, st.just("regions"), wait_s, st.tuples(*[st.sampled_from(HEALTH)] * 2)),
            st.builds(Step, st.sampled_from(("fail", "wait", "restart")), wait_s),
        ),
        max_size=40,
    )


def play(scene: Scene, step: Step) -> None:
    scene.later(step.wait_s)
    match step.what:
        case "sweep":
            listed: list[Instance] = [
                instance(n, status) for n, status in enumerate(step.statuses) if status is not None
            ]
            scene.sweep(*listed)
        case "regions":
            scene.regions(
                *(Region(f"r{n}", "", s, 1.0, capacity=True) for n, s in enumerate(step.statuses) if s)
            )
        case "fail":
            scene.fail(REGIONS)
            scene.fail(INSTANCES)
        case "restart":
            scene.restart()
            scene.evaluate()
        case _:
            scene.evaluate()


def about(alerts: dict[str, Alert], prefixes: tuple[str, ...]) -> dict[str, Alert]:
    return {f: a for f, a in alerts.items() if a.name.startswith(prefixes)}


def check(scene: Scene, step: Step) -> None:
    """One step, and what must hold of it."""
    before = dict(scene.alerts)
    play(scene, step)
    facts = Facts(scene.now, scene.polls, scene.region_snapshot, scene.inventory)
    if step.what != "sweep" and not facts.instances_known:
        assert about(scene.alerts, ("Instance",)) == about(before, ("Instance",))
    if step.what != "regions" and not facts.regions_known:
        assert about(scene.alerts, ("Region",)) == about(before, ("Region",))
    rules = {rule.name: rule for rule in scene.rules}
    for alert in scene.alerts.values():
        if alert.state is AlertState.FIRING:
            assert alert.fired_at is not None
            assert alert.fired_at >= alert.active_at + rules[alert.name].wait_s
            assert alert.resolved_at is None
        if alert.state is AlertState.RESOLVED:
            assert alert.resolved_at is not None
    changed = {a.fingerprint for a in scene.last.changed} | set(scene.last.removed)
    single = step.what != "fail"  # a failure is two passes, of which `last` is the second
    assert not single or changed == {
        f for f in {**before, **scene.alerts} if before.get(f) != scene.alerts.get(f)
    }
    assert scene.last.next_due is None or scene.last.next_due > scene.now


def check_all(scene: Scene, played: list[Step]) -> None:
    for step in played:
        check(scene, step)


@given(steps())
@settings(max_examples=examples(150), deadline=None)
def test_alerts_follow_what_is_known_and_only_that(played: list[Step]) -> None:
    scene = Scene(*RULES)
    for step in played:
        check(scene, step)
        if step.wait_s == 15.0:
            scene.told()


@given(steps())
@settings(max_examples=examples(60), deadline=None)
def test_when_all_is_well_again_nothing_fires(played: list[Step]) -> None:
    scene = Scene(*RULES)
    for step in played:
        play(scene, step)
    for _ in range(12 + int(flapping.CALM_AFTER_S // 15)):
        scene.later(15.0).regions(*(Region(f"r{n}", "", "healthy", 1.0, capacity=True) for n in range(2)))
        scene.sweep(*(instance(n) for n in range(3)))
        scene.told()
    assert scene.alerts == {}


SCRIPT = [
    Step("sweep", 30.0, ("running", "running", "running")),
    Step("sweep", 30.0, ("stopped", "running", "running")),
    Step("sweep", 30.0, ("stopped", "running", "running")),
    Step("fail", 100.0),
    Step("fail", 100.0),
]


def believing(rule: Rule) -> Rule:
    """The rule, wrong: what it cannot know it takes for false."""

    def judge(facts: Facts, own: Rule) -> Judgement:
        judgement = rule.condition.judge(facts, own)
        return replace(judgement, known=True, findings=judgement.findings if judgement.known else ())

    condition = rule.condition
    wrong = Condition(judge, condition.subject_label, None, condition.momentary)
    return replace(rule, condition=wrong)


def test_the_checks_notice_a_machine_that_takes_unknown_for_false() -> None:
    scene = Scene(*(believing(rule) for rule in RULES))
    with pytest.raises(AssertionError):
        check_all(scene, SCRIPT)


def test_the_same_script_passes_the_right_machine() -> None:
    check_all(Scene(*RULES), SCRIPT)


@given(
    st.dictionaries(st.sampled_from(("alertname", "name", "region", "x", "severity")), st.text(), max_size=5)
)
def test_a_fingerprint_is_the_hash_of_all_its_bytes(labels: dict[str, str]) -> None:
    digest = 14695981039346656037
    for name, value in sorted(labels.items()):
        for byte in b"%b\xff%b\xff" % (name.encode(), value.encode("utf-8", "replace")):
            digest = (digest ^ byte) * 1099511628211 % 2**64
    assert fingerprint(labels.items()) == f"{digest:016x}"
