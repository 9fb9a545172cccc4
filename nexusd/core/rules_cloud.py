"""Rules about the API, its data as a whole, and its regions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nexusd.core.errors import BadAnswerError
from nexusd.core.polls import (
    PollState,
    answering_since,
    shortest_patience_s,
    silent_s,
    unauthorized,
    unreachable,
)
from nexusd.core.records import Region
from nexusd.core.regions import KnownRegion
from nexusd.core.rules import NOTHING_FOUND, UNKNOWN, Facts, Finding, Judgement, Rule

_JUST_AFTER_S = 0.001
"""Ages are compared strictly: at the very instant of a limit nothing is too old yet."""


def watchdog(_facts: Facts, _rule: Rule) -> Judgement:
    return _one(
        "nexusd's alerting works",
        "This alert always fires. When it stops coming, nexusd or what carries its alerts is down.",
    )


READING_FAILURES = frozenset({None, BadAnswerError.reason, "partial", "too_large", "redirect"})
"""Why a poll failed though the API answered; None while the next has not ended."""


def api_unreachable(facts: Facts, _rule: Rule) -> Judgement:
    """Evaluate `CloudAPIUnreachable`.

    Unknown until the first answer, and while no request was made: suspended, or no poll failed yet.
    """
    polls = tuple(facts.polls.values())
    if not polls:
        return UNKNOWN
    if not unreachable(polls, facts.now):
        remaining_s = shortest_patience_s(polls) - silent_s(polls, facts.now)
        if remaining_s < 0:
            return UNKNOWN
        answered = any(p.answered_at is not None for p in polls)
        return Judgement(known=answered, due=facts.now + remaining_s + _JUST_AFTER_S)
    last_answer_at = max(p.last_answer_at for p in polls)
    reasons = sorted({f"{p.resource}: {p.failure_message or p.failure}" for p in polls if p.failure})
    why = f" Last failures: {'; '.join(reasons)}." if reasons else ""
    return _one(
        "The CloudNexus API cannot be reached",
        f"It has given no usable answer for {facts.now - last_answer_at:.0f}s. What nexusd shows is as old "
        f"as that, and nothing is placed.{why}",
    )


def api_unauthorized(facts: Facts, _rule: Rule) -> Judgement:
    """Known to be over only when the API accepts the key again: a time-out says nothing about it."""
    polls = tuple(facts.polls.values())
    if unauthorized(polls):
        return _one(
            "CloudNexus refuses the API key",
            "Requests are answered with 401 or 403. Nothing is read or placed until the key is accepted.",
        )
    if facts.key_refused:
        return _one(
            "CloudNexus refuses the API key for creates",
            f"{facts.key_refused}. Nothing is placed until the key changes, the configuration is read again, "
            "or a create, tried every 5 min, is accepted.",
        )
    accepted = any(p.failure in (None, "partial") and p.answered_at is not None for p in polls)
    return NOTHING_FOUND if accepted else UNKNOWN


def snapshot_stale(facts: Facts, _rule: Rule) -> Judgement:
    """Evaluate `SnapshotStale`: data grows old although the API responds.

    False while the API does not respond at all.

    Unknown while nothing has answered for long but only one kind has failed: the API may be unreachable.
    A resource that has not answered itself is given as long again, and a poll of it must have failed that
    began while the API answered: after an outage the first kind to answer must not convict the other, whose
    turn to be read has not come. Unknown also until a poll has failed, or a suspension interrupted the last
    reading: a poll that is late, on an overloaded machine, proves nothing.
    """
    polls = tuple(facts.polls.values())
    if not polls or unreachable(polls, facts.now) or unauthorized(polls):
        return NOTHING_FOUND
    if silent_s(polls, facts.now) > shortest_patience_s(polls):
        return UNKNOWN
    old = [p for p in polls if p.awake_age_s(facts.now) > p.patience_s]
    if not old:
        due = facts.now + min(p.patience_s - p.awake_age_s(facts.now) for p in polls) + _JUST_AFTER_S
        read = all(p.succeeded_at is not None for p in polls)
        return Judgement(known=read, due=due)
    since = answering_since(polls, facts.now)
    old = [p for p in old if p.interrupted or _fails_although_answered(p, since, facts.now)]
    if not old:
        return UNKNOWN
    waits = [0.0 if _answers(p, facts.now) and not p.interrupted else p.patience_s for p in old]
    ages = " and ".join(_last_read(p, facts.now) for p in old)
    reasons = "".join(f" Last failure: {p.failure_message or p.failure}." for p in old if p.failure)
    return _one(
        "Data from CloudNexus is stale although the API answers",
        f"Complete readings fail: {ages}. Nothing is decided on data this old.{reasons}",
        wait_s=min(waits),
    )


def _fails_although_answered(poll: PollState, since: float | None, now: float) -> bool:
    """Return whether a poll failed since the last reading although the API answers."""
    if not poll.failed_since_success:
        return False
    return _answers(poll, now) or (since is not None and (poll.failed_began_at or 0.0) >= since)


def _last_read(poll: PollState, now: float) -> str:
    if poll.interrupted:
        return f"nexusd was suspended or blocked during each reading of {poll.resource}"
    return f"{poll.resource} were last read {poll.age_s(now):.0f}s ago"


def mass_disappearance(facts: Facts, _rule: Rule) -> Judgement:
    hold = facts.delta.hold if facts.delta is not None else facts.inventory.hold
    if hold is None:
        return NOTHING_FOUND if facts.instances_known else UNKNOWN
    return _one(
        f"{len(hold.gone)} of {hold.of} instances are missing from the listing at once",
        "So many losses at once are more likely an API that answers wrongly. The last snapshot is kept until "
        "more sweeps agree; meanwhile no instance is reported as gone and none is replaced.",
    )


def no_eligible_region(facts: Facts, _rule: Rule) -> Judgement:
    if not facts.regions_known:
        return UNKNOWN
    listed = facts.regions.listed
    if any(r.healthy and r.capacity for r in listed):
        return NOTHING_FOUND
    healthy = sum(r.healthy for r in listed)
    return _one(
        "No region can take an instance",
        f"Of {len(listed)} regions {healthy} are healthy and none of these has capacity. Placements wait.",
    )


def region_unhealthy(facts: Facts, rule: Rule) -> Judgement:
    def judge(known: KnownRegion) -> Finding | None:
        region = known.region
        if known.left_at is not None:
            return _of_region(
                region,
                f"Region {region.slug} left the list of regions",
                "CloudNexus no longer lists it. Nothing is placed there; its instances are still watched.",
            )
        if region.healthy:
            return None
        return _of_region(
            region,
            f"Region {region.slug} is {region.status}",
            f"{_title(region)} has status {region.status}, not healthy. Nothing is placed there.",
        )

    return _each_region(facts, rule, judge)


def region_capacity_exhausted(facts: Facts, rule: Rule) -> Judgement:
    def judge(known: KnownRegion) -> Finding | None:
        region = known.region
        if known.left_at is not None or not region.healthy or region.capacity:
            return None
        return _of_region(
            region,
            f"Region {region.slug} has no capacity",
            f"{_title(region)} is healthy but takes no new instances.",
        )

    return _each_region(facts, rule, judge)


def region_latency_high(facts: Facts, rule: Rule) -> Judgement:
    """A listed region without a latency is not judged: it may be high or not."""
    threshold_ms = rule.threshold if rule.threshold is not None else float("inf")

    def judge(known: KnownRegion) -> Finding | None:
        region = known.region
        if known.left_at is not None or region.latency_ms is None or region.latency_ms <= threshold_ms:
            return None
        return _of_region(
            region,
            f"Latency to region {region.slug} is high",
            f"{_title(region)} answers in {region.latency_ms:g} ms on average, above {threshold_ms:g} ms.",
        )

    unknown = frozenset(r.slug for r in facts.regions.listed if r.latency_ms is None)
    return _each_region(facts, rule, judge, unknown)


def _each_region(
    facts: Facts,
    rule: Rule,
    judge: Callable[[KnownRegion], Finding | None],
    unknown: frozenset[str] = frozenset(),
) -> Judgement:
    if not facts.regions_known:
        return UNKNOWN
    return Judgement(tuple(_found(facts, rule, judge)), unknown=unknown)


def _found(facts: Facts, rule: Rule, judge: Callable[[KnownRegion], Finding | None]) -> Iterator[Finding]:
    for known in facts.regions.known.values():
        finding = judge(known)
        if finding is not None and rule.admits(known.region):
            yield finding


def _of_region(region: Region, summary: str, description: str) -> Finding:
    return Finding({"region": region.slug}, summary, description)


def _one(summary: str, description: str, wait_s: float = 0.0) -> Judgement:
    return Judgement((Finding({}, summary, description, wait_s),))


def _title(region: Region) -> str:
    return f"{region.slug} ({region.name})" if region.name else region.slug


def _answers(poll: PollState, now: float) -> bool:
    """Whether what fails is the reading, not the requests: those may be an outage that is just beginning."""
    recently = poll.answered_at is not None and now - poll.answered_at <= poll.patience_s
    return recently and poll.failure in READING_FAILURES
