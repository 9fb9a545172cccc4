"""Rules about placements. What they judge is nexusd's own record, so it is never stale."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat

from nexusd.core.lifecycle import Placement, State
from nexusd.core.limits import nearly_reached
from nexusd.core.rules import NOTHING_FOUND, UNKNOWN, Facts, Finding, Judgement, Rule

PLACEMENT_DELAYED = "PlacementDelayed"


def placement_failed(facts: Facts, rule: Rule) -> Judgement:
    """It holds for `resolve_after` from the failure: nothing else could end it."""
    if facts.placements is None:
        return UNKNOWN
    keep_s = rule.resolve_after_s if rule.resolve_after_s is not None else float("inf")
    until = {p.id: _kept_until(p, keep_s, facts) for p in facts.placements if p.state is State.FAILED}
    failed = [p for p in facts.placements if facts.now < until.get(p.id, facts.now)]
    return Judgement(
        tuple(
            Finding(
                _labels(p),
                f"Placement {p.request.name} failed",
                f"{p.request.name} ({p.request.plan}) could not be placed: {_why(p)}.{beyond}",
            )
            for p, beyond in zip(failed, _beyond(facts, State.FAILED), strict=False)
        ),
        due=min((until[p.id] for p in failed), default=None),
    )


def _kept_until(placement: Placement, keep_s: float, facts: Facts) -> float:
    return facts.suspensions.awake_until(placement.updated_at, keep_s, facts.now)


def placement_held(facts: Facts, _rule: Rule) -> Judgement:
    if facts.placements is None:
        return UNKNOWN
    held = [p for p in facts.placements if p.state is State.HELD]
    return Judgement(
        tuple(
            Finding(
                _labels(p),
                f"Placement {p.request.name} is held",
                f"It cannot be told whether {p.request.name} was created: {_why(p)}. "
                f"Nothing more is done until `nexusd resolve {p.id} --exists|--absent` says so.{beyond}",
            )
            for p, beyond in zip(held, _beyond(facts, State.HELD), strict=False)
        )
    )


def placement_delayed(facts: Facts, rule: Rule) -> Judgement:
    """Queued longer than the threshold, attempts included.

    Time in which nexusd was suspended does not count: only a nexusd that runs can place.
    """
    if facts.placements is None:
        return UNKNOWN
    patience_s = rule.threshold or 0.0
    queued = [p for p in facts.placements if p.state is State.QUEUED]
    late_at = {p.id: facts.suspensions.awake_until(p.created_at, patience_s, facts.now) for p in queued}
    late = [p for p in queued if late_at[p.id] <= facts.now]
    return Judgement(
        tuple(
            Finding(
                _labels(p),
                f"Placement {p.request.name} is delayed",
                f"{p.request.name} still waits for a region, more than {patience_s / 60:g} min after it was "
                f"asked for: {_why(p)}.{beyond}",
            )
            for p, beyond in zip(late, _beyond(facts, State.QUEUED), strict=False)
        ),
        due=min((at for at in late_at.values() if at > facts.now), default=None),
    )


def duplicate_name(facts: Facts, _rule: Rule) -> Judgement:
    """A placement whose answer was lost was looked for by its name, and several instances have it."""
    if not facts.instances_known:
        return UNKNOWN
    return Judgement(
        tuple(
            Finding(
                _labels(p),
                f"{name} is the name of several instances",
                f"The answer to the create of {name} was lost, and several instances of that name were then "
                f"listed in {p.region}. The oldest, {p.instance_id}, is taken for the one that was made.",
            )
            for name, p in facts.shared_names.items()
            if still_shared(facts, name)
        )
    )


def instance_limit_near(facts: Facts, _rule: Rule) -> Judgement:
    """Evaluate `InstanceLimitNear`.

    Instances can be created and not deleted, so a limit that is nearly reached needs attention first.
    """
    if not facts.limits.any:
        return NOTHING_FOUND
    if facts.usage is None or not facts.instances_known:
        return UNKNOWN
    return Judgement(
        tuple(
            Finding(
                {"plan": plan} if plan else {},
                f"{used} of {limit} {f'{plan} ' if plan else ''}instances are used",
                f"{used} {f'{plan} ' if plan else ''}instances exist or are being created, and "
                f"`placement.max_instances{'_per_plan' if plan else ''}` allows {limit}. "
                "Placements beyond the limit wait in the queue.",
            )
            for plan, used, limit in nearly_reached(facts.limits, facts.usage)
        )
    )


def still_shared(facts: Facts, name: str) -> bool:
    """It ends when at most one of them is left that is not terminated."""
    return sum(instance.live for instance in facts.inventory.named(name)) > 1


def _beyond(facts: Facts, state: State) -> Iterator[str]:
    """What the first alert says of those that have none, and nothing for each of the others."""
    more = facts.unlooked.get(state, 0)
    said = f" {more} more are {state}, without an alert of their own." if more else ""
    return chain([said], repeat(""))


def _labels(placement: Placement) -> dict[str, str]:
    """`instance` and `name`: the requested name, under which the instance is listed."""
    return {
        "placement_id": placement.id,
        "instance": placement.request.name,
        "name": placement.request.name,
        "region": placement.region or "",
        "fleet": placement.request.fleet or "",
    }


def _why(placement: Placement) -> str:
    return placement.reason or "no reason is known"
