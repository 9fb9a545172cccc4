"""What the page says: pure functions from what is known to HTML. Nothing here grows with the fleet."""

from __future__ import annotations

from dataclasses import dataclass

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.fleets import FleetState
from nexusd.core.lifecycle import CLOSED, Placement, State
from nexusd.core.muting import Muted
from nexusd.core.placement import Considered
from nexusd.core.polls import REGIONS, PollState
from nexusd.core.records import Region
from nexusd.core.world import World
from nexusd.web.metrics import INSTANCE_STATUSES
from nexusd.web.page.html import Html, element, table
from nexusd.web.shapes import Shaper
from nexusd.web.status import alert_counts, pressing_alerts, started_at
from nexusd.web.tallies import Tallies

REFRESH_S = 15
MAX_REGION_ROWS = 200
MAX_ALERT_ROWS = 100
MAX_FLEET_ROWS = 100
_MANY_STATUSES = 10


@dataclass(frozen=True, slots=True)
class View:
    """All that one page is made from. `placements`, `fleets` None: the store did not answer. `fleets`: the
    first `MAX_FLEET_ROWS` of those declared.
    """

    version: str
    world: World
    eligibility: tuple[Considered, ...]
    tallies: Tallies
    placements: list[Placement] | None
    fleets: list[FleetState] | None
    not_ready: str | None
    leading: bool
    shaper: Shaper


def render(view: View) -> str:
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("title", "nexusd"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="refresh", content=str(REFRESH_S)),
        element("link", rel="icon", type="image/svg+xml", href="static/nexusd.svg"),
        element("link", rel="stylesheet", href="static/nexusd.css"),
    )
    main = element(
        "main",
        _headline(view),
        _alerts(view),
        _regions(view),
        _instances(view),
        _fleets(view),
        _placements(view),
        _daemon(view),
    )
    header = element(
        "header", element("h1", "nexusd"), element("p", f"as of {view.shaper.time(view.shaper.now)}")
    )
    return "<!doctype html>" + element("html", head, element("body", header, main), lang="en")


def _headline(view: View) -> Html:
    polls = sorted(view.world.polls.values(), key=lambda p: p.resource)
    facts = [_fact(poll, view.shaper) for poll in polls]
    firing = alert_counts(view.world.alerts.values())[AlertState.FIRING]
    ready = "ready" if view.not_ready is None else f"not ready: {view.not_ready}"
    facts.insert(0, element("li", ready, class_="good" if view.not_ready is None else "bad"))
    facts.append(
        element("li", _plural(firing, "alert firing", "alerts firing"), class_="bad" if firing else "good")
    )
    return element("section", element("h2", "Now"), element("ul", *facts, class_="facts"), aria_label="Now")


def _fact(poll: PollState, shaper: Shaper) -> Html:
    if poll.succeeded_at is None:
        text = f"{poll.resource}: not read yet"
    else:
        text = f"{poll.resource}: read {ago(poll.age_s(shaper.now))} ago"
    stale = poll.stale(shaper.now)
    if poll.failure is not None:
        text += f", last poll failed ({poll.failure})"
    kind = "bad" if stale else "poor" if poll.failure is not None else "good"
    return element("li", text + (", stale" if stale else ""), class_=kind)


def _regions(view: View) -> Html:
    listed = {r.slug: r for r in view.world.regions.listed}
    ranked = [(listed[c.region], c) for c in view.eligibility if c.region in listed]
    rows = [_region_row(region, judged) for region, judged in ranked[:MAX_REGION_ROWS]]
    return element(
        "section",
        element("h2", "Regions"),
        element("p", _next_placement(view), class_="lead"),
        table(
            f"Regions, best first{_of(len(rows), len(ranked))}",
            ("Region", "Name", "Health", "Capacity", "Latency", "Instances", "Next placement"),
            rows,
        )
        if rows
        else element("p", "No regions are known yet."),
    )


def _region_row(region: Region, judged: Considered) -> list[object]:
    latency = f"{region.latency_ms:g} ms" if region.latency_ms is not None else "not known"
    verdict = f"eligible, rank {judged.rank}" if judged.eligible else "; ".join(judged.reasons)
    return [
        region.slug,
        region.name,
        element("td", region.status, class_="good" if region.healthy else "bad"),
        element("td", "yes" if region.capacity else "no", class_="good" if region.capacity else "poor"),
        element("td", latency, class_="number"),
        element("td", str(judged.instances), class_="number"),
        element("td", verdict, class_="good" if judged.eligible else "poor"),
    ]


def _next_placement(view: View) -> str:
    poll = view.world.polls.get(REGIONS)
    if poll is None or poll.stale(view.shaper.now):
        return "The next placement would wait: the region data is stale."
    best = next((c for c in view.eligibility if c.eligible), None)
    if best is None:
        return "The next placement would wait: no region is eligible."
    latency = f" at {best.latency_ms:g} ms" if best.latency_ms is not None else ""
    return f"The next placement without constraints would go to {best.region}{latency}."


def _instances(view: View) -> Html:
    counts = view.world.inventory.counts
    unknown = sorted({status for _, status in counts} - set(INSTANCE_STATUSES))[:_MANY_STATUSES]
    statuses = [*INSTANCE_STATUSES, *unknown]
    regions = sorted({region for region, _ in counts})
    rows = [_instances_row(region, statuses, view.world) for region in regions[:MAX_REGION_ROWS]]
    total = len(view.world.inventory)
    held = view.world.inventory.hold
    return element(
        "section",
        element("h2", "Instances"),
        element("p", _plural(total, "instance", "instances") + ".", class_="lead"),
        element(
            "p",
            f"{len(held.gone)} of {held.of} instances are missing at once; this is being confirmed.",
            class_="bad",
        )
        if held is not None
        else None,
        table(f"Instances by region and status{_of(len(rows), len(regions))}", ("Region", *statuses), rows)
        if rows
        else None,
    )


def _instances_row(region: str, statuses: list[str], world: World) -> list[object]:
    counts = world.inventory.counts
    cells = [element("td", str(counts.get((region, status), 0)), class_="number") for status in statuses]
    return [region, *cells]


def _fleets(view: View) -> Html | None:
    """Nothing where none is declared."""
    declared = len(view.world.fleets.specs)
    if not declared:
        return None
    if view.fleets is None:
        body = element("p", "The store does not answer, so what is in flight is not known.", class_="bad")
    else:
        body = table(
            f"Fleets{_of(len(view.fleets), declared)}",
            ("Fleet", "Plan", "Alive", "Declared", "In flight", "Surplus", "Waits for"),
            [_fleet_row(state, view.shaper) for state in view.fleets],
        )
    return element("section", element("h2", "Fleets"), body)


def _fleet_row(state: FleetState, shaper: Shaper) -> list[object]:
    spec = state.spec
    waits_for = state.reason or ""
    if state.next_try_at is not None:
        waits_for += f"; the next try is in {ago(state.next_try_at - shaper.now)}"
    return [
        spec.name,
        spec.plan,
        element("td", str(state.alive), class_="number good" if state.alive >= spec.count else "number bad"),
        element("td", str(spec.count), class_="number"),
        element("td", str(len(state.in_flight)), class_="number"),
        element("td", str(state.surplus), class_="number poor" if state.surplus else "number"),
        waits_for,
    ]


def _placements(view: View) -> Html:
    tallies = view.tallies
    states = [f"{n} {state.value}" for state in State if (n := tallies.placements.get(state, 0))]
    return element(
        "section",
        element("h2", "Placements"),
        element("p", (", ".join(states) or "None so far") + ".", class_="lead"),
        _placement_table(view),
    )


def _placement_table(view: View) -> Html | None:
    if view.placements is None:
        return element("p", "The store does not answer; the counts are the last known.", class_="bad")
    rows = [
        [
            element("a", p.request.name, href=f"api/v1/placements/{p.id}"),
            p.request.plan,
            element("td", p.state.value, class_=_state_class(p.state)),
            p.region or "none yet",
            p.instance_id or "",
            p.reason or "",
            f"{ago(view.shaper.now - p.updated_at)} ago",
        ]
        for p in view.placements
    ]
    headings = ("Name", "Plan", "State", "Region", "Instance", "Reason", "Changed")
    return table("Latest placements", headings, rows) if rows else None


def _state_class(state: State) -> str | None:
    if state is State.RUNNING:
        return "good"
    if state in (State.FAILED, State.HELD):
        return "bad"
    return None if state in CLOSED else "poor"


def _alerts(view: View) -> Html:
    shown = pressing_alerts(view.world.alerts.values(), MAX_ALERT_ROWS)
    active = sum(a.state in (AlertState.FIRING, AlertState.PENDING) for a in view.world.alerts.values())
    body = (
        table(
            f"Alerts, most pressing first{_of(len(shown), active)}",
            ("Alert", "Severity", "State", "About", "Summary", "Since", "Not told"),
            (_alert_row(alert, view) for alert in shown),
        )
        if shown
        else element("p", "Nothing is firing or pending.")
    )
    return element("section", element("h2", "Alerts"), body)


def _alert_row(alert: Alert, view: View) -> list[object]:
    about = ", ".join(f"{k}={v}" for k, v in sorted(alert.labels) if k not in ("alertname", "severity"))
    firing = alert.state is AlertState.FIRING and alert.label("severity") != "none"
    return [
        alert.name,
        alert.label("severity"),
        element("td", alert.state.value, class_="bad" if firing else "poor"),
        about,
        dict(alert.annotations).get("summary", ""),
        f"{ago(view.shaper.now - alert.active_at)} ago",
        _not_told(alert, view.world),
    ]


def _not_told(alert: Alert, world: World) -> str:
    """What mutes it: the alerts that inhibit it, the silences with who made them and why."""
    muted = world.muting.muted.get(alert.fingerprint, Muted())
    sources = (world.alerts.get(mark) for mark in muted.inhibited_by)
    silences = (world.silences.get(silence_id) for silence_id in muted.silenced_by)
    reasons = [f"inhibited by {source.name}" for source in sources if source is not None]
    reasons += [f"silenced by {s.created_by}: {s.comment}" for s in silences if s is not None]
    return "; ".join(reasons)


def _daemon(view: View) -> Html:
    outbox = view.tallies.outbox
    waiting = sum(n for (_, state), n in outbox.items() if state == "pending")
    dead = sum(n for (_, state), n in outbox.items() if state == "dead")
    facts = (
        ("Version", view.version),
        ("Running for", ago(view.shaper.now - started_at(view.world))),
        ("Leader", "yes" if view.leading else "no"),
        ("Notifications waiting", str(waiting)),
        ("Notifications dead", str(dead)),
    )
    pairs = [item for name, value in facts for item in (element("dt", name), element("dd", value))]
    links = [
        element("a", path, href=path)
        for path in (
            "metrics",
            "api/v1/status",
            "api/v1/regions",
            "api/v1/instances",
            "api/v1/fleets",
            "api/v1/events",
        )
    ]
    return element(
        "section",
        element("h2", "This daemon"),
        element("dl", *pairs),
        element("nav", *links, aria_label="API"),
    )


def ago(seconds: float) -> str:
    """A duration in its largest fitting unit, for people."""
    for size_s, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _of(shown: int, total: int) -> str:
    return f" ({shown} of {total})" if shown < total else ""


def _plural(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
