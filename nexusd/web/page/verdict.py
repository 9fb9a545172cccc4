"""Is all well? One line, and what it rests on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nexusd.core.fleets import FleetSpec, FleetState
from nexusd.core.lifecycle import OPEN, State
from nexusd.core.polls import INSTANCES, REGIONS, unauthorized, unreachable
from nexusd.core.records import RUNNING
from nexusd.core.region_names import unlisted_regions
from nexusd.web.page.html import Html, element
from nexusd.web.page.reading import View
from nexusd.web.page.words import Kind, age, plural, status

_MARKS = {Kind.GOOD: "", Kind.POOR: "▲ ", Kind.BAD: "◆ ", Kind.IDLE: ""}
"""Before the title, where a tab shows little else."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`text`: the worst there is. `others`: what is wrong besides."""

    kind: Kind
    text: str
    others: tuple[str, ...] = ()

    @property
    def mark(self) -> str:
        return _MARKS[self.kind]


def verdict_of(view: View) -> Verdict:
    """No times in it: it is read aloud whenever it changes."""
    found = [*_bad(view), *_poor(view)]
    if not found:
        return Verdict(Kind.GOOD, "All is well")
    (kind, text), *others = found
    return Verdict(kind, text, tuple(other for _, other in others))


def headline(view: View, verdict: Verdict) -> Html:
    others = f"Also: {'; '.join(verdict.others)}." if verdict.others else _reassurance(view, verdict)
    return element(
        "div",
        element("div", element("h1", status(verdict.kind, verdict.text)), role="status"),
        element("p", others, class_="others"),
        element("dl", *(_figure(*figure) for figure in _figures(view)), class_="figures"),
        class_=f"verdict {verdict.kind}",
        data_key="verdict",
    )


def strip(verdict: Verdict) -> Html:
    """The same in a line, above what is looked at more closely."""
    link = element("a", status(verdict.kind, verdict.text), href="./")
    return element("div", link, class_="strip", role="status", data_key="verdict")


def _bad(view: View) -> Iterator[tuple[Kind, str]]:
    polls = tuple(view.world.polls.values())
    if unauthorized(polls):
        yield Kind.BAD, "CloudNexus refuses the API key"
    elif all(poll.succeeded_at is not None for poll in polls) and unreachable(polls, view.now):
        yield Kind.BAD, "CloudNexus does not answer"
    elif view.not_ready is not None:
        yield Kind.BAD, f"Not ready: {view.not_ready}"
    else:
        stale = sorted(poll.resource for poll in polls if poll.stale(view.now))
        if stale:
            yield Kind.BAD, f"Old data: {' and '.join(stale)} cannot be read"
    critical = view.alert_counts.told.get("critical", 0)
    if critical:
        yield Kind.BAD, plural(critical, "critical alert is firing", "critical alerts are firing")
    if view.stored is None:
        yield Kind.BAD, "The store does not answer"


def _poor(view: View) -> Iterator[tuple[Kind, str]]:
    told = view.alert_counts.told
    mild = sum(told.values()) - told.get("critical", 0) - told.get("info", 0)
    if mild:
        yield Kind.POOR, plural(mild, "alert is firing", "alerts are firing")
    if view.world.inventory.hold is not None:
        yield Kind.POOR, "A mass disappearance of instances is being confirmed"
    if view.world.regions.listed and not any(c.eligible for c in view.eligibility):
        yield Kind.POOR, "Nothing can be placed: no region is eligible"
    unlisted = sum(bool(_unlisted(spec, view)) for spec in view.world.fleets.specs)
    if unlisted:
        yield Kind.POOR, plural(unlisted, "fleet names an unknown region", "fleets name unknown regions")
    held = view.tallies.placements.get(State.HELD, 0)
    if held:
        yield Kind.POOR, plural(held, "placement waits for a person", "placements wait for a person")
    dead = outbox(view, "dead")
    if dead:
        yield Kind.POOR, plural(dead, "notification was given up", "notifications were given up")


def _unlisted(spec: FleetSpec, view: View) -> list[str]:
    return unlisted_regions([*(spec.regions or ()), *spec.avoid_regions], view.world.regions)


def _reassurance(view: View, verdict: Verdict) -> str:
    if verdict.kind is not Kind.GOOD:
        return "Nothing else is wrong."
    quiet = [
        plural(view.alert_counts.told.get("info", 0), "alert for information", "alerts for information"),
        plural(view.alert_counts.muted, "alert is muted", "alerts are muted"),
    ]
    shown = [text for text in quiet if not text.startswith("0 ")]
    return f"{'; '.join(shown)}." if shown else "The cloud answers and nothing fires."


def outbox(view: View, state: str) -> int:
    return sum(n for (_, each), n in view.tallies.outbox.items() if each == state)


def _figures(view: View) -> Iterator[tuple[str, object, str]]:
    """(name, value, remark)."""
    world, counts = view.world, view.alert_counts
    yield "Alerts firing", f"{counts.firing:,}", f"{counts.pending:,} pending, {counts.muted:,} muted"
    eligible = sum(c.eligible for c in view.eligibility)
    yield "Regions eligible", f"{eligible:,}", f"of {len(world.regions.listed):,}"
    running = sum(n for (_, status), n in world.inventory.counts.items() if status == RUNNING)
    yield "Instances", f"{len(world.inventory):,}", f"{running:,} running"
    yield from _fleet_figure(view.fleets, len(world.fleets.specs))
    placements = view.tallies.placements
    yield (
        "Placements open",
        f"{sum(n for state, n in placements.items() if state in OPEN):,}",
        f"{placements.get(State.QUEUED, 0):,} queued",
    )
    instances, regions = world.polls[INSTANCES], world.polls[REGIONS]
    older = min((instances, regions), key=lambda poll: poll.succeeded_at or 0.0)
    yield "Data age", age(older.succeeded_at, view.shaper, "none yet"), f"of {older.resource}"


def _fleet_figure(fleets: list[FleetState] | None, declared: int) -> Iterator[tuple[str, object, str]]:
    if fleets:
        whole = sum(state.alive >= state.spec.count for state in fleets)
        of = f"of {len(fleets):,}" if len(fleets) == declared else f"of the first {len(fleets):,}"
        yield "Fleets complete", f"{whole:,}", of


def _figure(name: str, value: object, remark: str) -> Html:
    return element(
        "div",
        element("dt", name),
        element("dd", value),
        element("dd", remark, class_="remark"),
        data_key=name,
    )
