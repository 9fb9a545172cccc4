"""One placement: what was asked for, its attempts, and why it went where it went."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nexusd.core.lifecycle import Attempt, Outcome, Placement, State
from nexusd.core.placement import Considered, Decision
from nexusd.web.page.frame import folded, lead, section
from nexusd.web.page.html import Cell, Html, Row, element, table, together
from nexusd.web.page.placements import life
from nexusd.web.page.reading import View
from nexusd.web.page.words import Kind, ago, duration, milliseconds, plural, status, until, where_next

MAX_DECISIONS = 10
MAX_ATTEMPTS = 50
MAX_REGIONS = 200
_OUTCOMES = {
    Outcome.CREATED: Kind.GOOD,
    Outcome.ADOPTED: Kind.GOOD,
    Outcome.REFUSED: Kind.BAD,
    Outcome.UNKNOWN: Kind.POOR,
}


@dataclass(frozen=True, slots=True)
class Whole:
    """A placement with its history. `planned`: it is so deep in the queue that nothing was decided yet, and
    the decision is what would be decided now.
    """

    placement: Placement
    attempts: list[Attempt]
    decisions: list[Decision]
    planned: bool = False


def detail(view: View, whole: Whole) -> Html:
    placement = whole.placement
    return together(
        section(
            "placement",
            f"Placement {placement.request.name}",
            lead(life(placement.state), " ", placement.reason or ""),
            element("dl", *_facts(placement, view), class_="facts"),
            level="h1",
        ),
        _decisions(whole, view),
        _attempts(whole.attempts, view),
    )


def _facts(placement: Placement, view: View) -> Iterator[Html]:
    for name, value in _named_facts(placement, view):
        yield element("div", element("dt", name), element("dd", value), data_key=name)


def _named_facts(placement: Placement, view: View) -> Iterator[tuple[str, object]]:
    request = placement.request
    yield "Id", element("code", placement.id)
    yield "Region", placement.region or "none yet"
    yield "Instance", element("code", placement.instance_id) if placement.instance_id else "none yet"
    yield "Plan, image", f"{request.plan}, {request.image}"
    yield "Asked for", ago(placement.created_at, view.shaper)
    yield "Changed", ago(placement.updated_at, view.shaper)
    if request.fleet is not None:
        yield "Fleet", request.fleet
    if request.regions is not None:
        yield "Only in", ", ".join(request.regions) or "nowhere"
    if request.avoid_regions:
        yield "Not in", ", ".join(request.avoid_regions)
    if request.where is not None:
        yield "Where", element("code", request.where)
    if request.spread is not None:
        yield "Spread", f"group {request.spread.group}, at most {request.spread.max_skew} apart"
    if request.priority:
        yield "Priority", str(request.priority)
    if request.deadline is not None and placement.state is State.QUEUED:
        yield "Deadline", until(request.deadline, view.shaper)


def _decisions(whole: Whole, view: View) -> Html:
    if not whole.decisions:
        return section("decisions", "Decision", lead("Nothing was decided yet."))
    *earlier, last = whole.decisions
    shown = earlier[-MAX_DECISIONS:]
    more = "" if len(shown) == len(earlier) else f", the last {len(shown)} shown"
    older = [_decision(decision, view) for decision in reversed(shown)]
    return section(
        "decisions",
        "What would be decided now" if whole.planned else "Last decision",
        _decision(last, view),
        folded(
            f"{plural(len(earlier), 'earlier decision', 'earlier decisions')}{more}",
            together(*older),
            "earlier",
        )
        if earlier
        else None,
    )


def _decision(decision: Decision, view: View) -> Html:
    chosen: object = decision.reason or "No region"
    if decision.region is not None:
        chosen = together("For ", element("b", decision.region), f" ({decision.policy})")
    observed_at = decision.observed_at
    aged = f", on data {duration(decision.decided_at - observed_at)} old" if observed_at is not None else ""
    rows = [_considered(considered) for considered in decision.considered[:MAX_REGIONS]]
    headings = ("Region", "Verdict", "Latency", "Instances")
    return element(
        "div",
        lead(chosen, "; decided ", ago(decision.decided_at, view.shaper), f"{aged}."),
        table("Regions considered", headings, rows) if rows else None,
        _cut(len(decision.considered)),
        data_key=str(decision.decided_at),
    )


def _cut(considered: int) -> Html | None:
    return (
        lead(f"{considered - MAX_REGIONS:,} more regions are not shown.")
        if considered > MAX_REGIONS
        else None
    )


def _considered(considered: Considered) -> Row:
    compared = considered.smoothed_ms
    latency = milliseconds(considered.latency_ms)
    if compared is not None:
        latency += f", smoothed {compared:.1f} ms"
    cells = (
        element("b", considered.region),
        where_next(considered),
        Cell(latency, "number"),
        Cell(f"{considered.instances:,}", "number"),
    )
    return Row(considered.region, cells)


def _attempts(attempts: list[Attempt], view: View) -> Html:
    if not attempts:
        return section("attempts", "Attempts", lead("Nothing was sent yet."))
    shown = attempts[-MAX_ATTEMPTS:]
    sent = f"{plural(len(attempts), 'create was', 'creates were')} sent"
    more = f", the last {len(shown)} are shown" if len(shown) < len(attempts) else ""
    headings = ("Attempt", "Region", "Outcome", "Sent", "Detail")
    return section(
        "attempts",
        "Attempts",
        lead(f"{sent}{more}."),
        table("Attempts, the last first", headings, (_attempt(a, view) for a in reversed(shown))),
    )


def _attempt(attempt: Attempt, view: View) -> Row:
    outcome = attempt.outcome
    said = outcome.value.replace("_", " ") if outcome is not None else "no answer yet"
    cells = (
        str(attempt.number),
        attempt.region,
        status(_OUTCOMES.get(outcome, Kind.IDLE) if outcome is not None else Kind.POOR, said),
        ago(attempt.sent_at, view.shaper),
        attempt.detail or "",
    )
    return Row(str(attempt.number), cells)
