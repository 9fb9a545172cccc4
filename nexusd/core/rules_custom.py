"""Rules of the user's own (`alerts.custom`): a condition over each instance, region or fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from nexusd.core.errors import NexusdError
from nexusd.core.records import Fleet, Instance, Region
from nexusd.core.rules import UNKNOWN, Condition, Facts, Finding, Judgement, Rule, Where
from nexusd.core.rules_instances import instance_labels


def condition_over(each: str, when: Where, text: str) -> Condition:
    """`each`: instance, region or fleet. `when`: the compiled `text`.

    Of what `when` cannot be evaluated for (a field that the cloud did not send) nothing is known: its alert
    stays as it is.
    """
    return _KINDS[each](_Own(when, text))


@dataclass(frozen=True, slots=True)
class _Own:
    """The user's condition, and how a finding of it reads."""

    when: Where
    text: str

    def finding(self, rule: Rule, labels: dict[str, str], thing: str) -> Finding:
        return Finding(labels, f"{rule.name}: {thing}", f"{self.text} is true of {thing}.")

    def judge(self, records: Iterable[Any], rule: Rule, identity: Callable[[Any], str]) -> _Verdict:
        holds, unknown = [], set()
        for record in records:
            if not rule.admits(record):
                continue
            try:
                if self.when(record):
                    holds.append(record)
            except NexusdError:
                unknown.add(identity(record))
        return _Verdict(holds, frozenset(unknown))


@dataclass(frozen=True, slots=True)
class _Verdict:
    holds: list[Any]
    unknown: frozenset[str]


def _over_instances(own: _Own) -> Condition:
    def judge(facts: Facts, rule: Rule) -> Judgement:
        if not facts.instances_known:
            return UNKNOWN
        verdict = own.judge(facts.touched_instances(), rule, _instance_id)
        findings = tuple(
            own.finding(rule, instance_labels(i), f"{i.name} ({i.id}) in {i.region}") for i in verdict.holds
        )
        return Judgement(findings, unknown=verdict.unknown, touched=facts.touched)

    return Condition(judge, "instance_id")


def _over_regions(own: _Own) -> Condition:
    """Those that are listed: what has left the list is `RegionUnhealthy`'s."""

    def judge(facts: Facts, rule: Rule) -> Judgement:
        if not facts.regions_known:
            return UNKNOWN
        verdict = own.judge(facts.regions.listed, rule, _slug)
        findings = tuple(own.finding(rule, {"region": r.slug}, f"region {r.slug}") for r in verdict.holds)
        return Judgement(findings, unknown=verdict.unknown)

    return Condition(judge, "region")


def _over_fleets(own: _Own) -> Condition:
    def judge(facts: Facts, rule: Rule) -> Judgement:
        if not facts.instances_known:
            return UNKNOWN
        verdict = own.judge(facts.fleets, rule, _fleet_name)
        findings = tuple(own.finding(rule, {"fleet": f.name}, f"fleet {f.name}") for f in verdict.holds)
        return Judgement(findings, unknown=verdict.unknown)

    return Condition(judge, "fleet")


_KINDS: dict[str, Callable[[_Own], Condition]] = {
    "instance": _over_instances,
    "region": _over_regions,
    "fleet": _over_fleets,
}


def _instance_id(instance: Instance) -> str:
    return instance.id


def _slug(region: Region) -> str:
    return region.slug


def _fleet_name(fleet: Fleet) -> str:
    return fleet.name
