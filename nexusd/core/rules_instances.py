"""Rules about single instances. They look only at those that a sweep touched (`Facts.touched`), so that a
quiet fleet costs nothing, whatever its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nexusd.core.changes import InstanceVanished
from nexusd.core.records import RUNNING, STARTING, STOPPED, TERMINATED, Instance
from nexusd.core.rules import UNKNOWN, Facts, Finding, Judgement, Rule


def instance_stopped(facts: Facts, rule: Rule) -> Judgement:
    return _fell(facts, rule, STOPPED)


def still_stopped(facts: Facts, instance_id: str) -> bool:
    """It ends when the instance runs again or is gone; `terminated` is an alert of its own."""
    instance = facts.instance(instance_id)
    return instance is not None and instance.status not in (RUNNING, TERMINATED)


def instance_terminated(facts: Facts, rule: Rule) -> Judgement:
    return _fell(facts, rule, TERMINATED)


def still_terminated(facts: Facts, instance_id: str) -> bool:
    """It ends when the instance runs again or is gone from the list."""
    instance = facts.instance(instance_id)
    return instance is not None and instance.status != RUNNING


def instance_vanished(facts: Facts, rule: Rule) -> Judgement:
    """Found once, in the sweep that confirms it. One last seen `terminated` was bound to leave the list."""
    if not facts.instances_known:
        return UNKNOWN
    changes = facts.delta.changes if facts.delta is not None else ()
    gone = (
        c.instance for c in changes if isinstance(c, InstanceVanished) and c.instance.status != TERMINATED
    )
    return _judged(facts, rule, gone, _vanished)


def still_vanished(facts: Facts, instance_id: str) -> bool:
    """It ends when the instance is seen again (or after `resolve_after`)."""
    return facts.instance(instance_id) is None


def instance_stuck(facts: Facts, rule: Rule) -> Judgement:
    """Since when it starts is remembered by the pending alert, whose wait is the threshold."""
    if not facts.instances_known:
        return UNKNOWN
    minutes = (rule.threshold or 0.0) / 60
    starting = (i for i in facts.touched_instances() if i.status in STARTING)
    return _judged(
        facts,
        rule,
        starting,
        lambda i: Finding(
            instance_labels(i),
            f"Instance {i.display_name} does not finish starting",
            f"{i.display_name} ({i.id}) in {i.region} has not left pending and provisioning for "
            f"{minutes:g} min.",
        ),
    )


def _fell(facts: Facts, rule: Rule, status: str) -> Judgement:
    if not facts.instances_known:
        return UNKNOWN
    down = (i for i in facts.touched_instances() if i.status == status and facts.seen_running(i.id))
    return _judged(
        facts,
        rule,
        down,
        lambda i: Finding(
            instance_labels(i),
            f"Instance {i.display_name} is {status}",
            f"{i.display_name} ({i.id}) in {i.region} was seen running and is now {status}.",
        ),
    )


def _vanished(instance: Instance) -> Finding:
    return Finding(
        instance_labels(instance),
        f"Instance {instance.display_name} vanished",
        f"{instance.display_name} ({instance.id}) in {instance.region}, last seen {instance.status}, is "
        "missing from consecutive complete listings.",
    )


def _judged(
    facts: Facts, rule: Rule, instances: Iterable[Instance], finding: Callable[[Instance], Finding]
) -> Judgement:
    return Judgement(tuple(finding(i) for i in instances if rule.admits(i)), touched=facts.touched)


def instance_labels(instance: Instance) -> dict[str, str]:
    """Return the labels of an alert about one instance.

    Many receivers show and group by `instance`.
    """
    return {
        "instance_id": instance.id,
        "instance": instance.display_name,
        "name": instance.display_name,
        "region": instance.region,
    }
