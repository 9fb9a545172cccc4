"""Rules about declared fleets."""

from __future__ import annotations

from nexusd.core.rules import UNKNOWN, Facts, Finding, Judgement, Rule


def fleet_below_count(facts: Facts, rule: Rule) -> Judgement:
    if not facts.instances_known:
        return UNKNOWN
    short = (fleet for fleet in facts.fleets if fleet.alive < fleet.count and rule.admits(fleet))
    return Judgement(
        tuple(
            Finding(
                {"fleet": fleet.name},
                f"Fleet {fleet.name} has {fleet.missing} too few instances",
                f"{fleet.alive} of the {fleet.count} declared instances of fleet {fleet.name} are alive. "
                f"`nexusd fleets` says what is being done about it.",
            )
            for fleet in short
        )
    )
