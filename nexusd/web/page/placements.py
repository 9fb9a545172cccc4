"""Placements: how many in each state, those that wait for a person, the latest, and the whole list."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlencode

from nexusd.core.lifecycle import OPEN, Placement, State
from nexusd.web.page.frame import lead, pages, section, unanswered
from nexusd.web.page.html import Cell, Html, Row, element, table, together
from nexusd.web.page.reading import View
from nexusd.web.page.words import Kind, ago, milliseconds, status

LIST_LIMIT = 50
_HEADINGS = ("Placement", "Life", "Region", "Instance", "Decision", "Changed")
_STEPS = (State.QUEUED, State.CREATING, State.PROVISIONING, State.RUNNING)
_KINDS = {State.RUNNING: Kind.GOOD, State.FAILED: Kind.BAD, State.HELD: Kind.BAD, State.VERIFYING: Kind.POOR}


def overview(view: View) -> Html:
    more = element("a", "All placements", href="?show=placements")
    if view.stored is None:
        body: tuple[object, ...] = (unanswered("the counts are the last known"),)
    elif not view.stored.latest:
        body = (lead("Nothing was placed yet."),)
    else:
        held = {placement.id for placement in view.stored.held}
        latest = [p for p in view.stored.latest if p.id not in held]
        body = (
            _table("Placements that a person has to decide on", view.stored.held, view) if held else None,
            _table("Latest placements", latest, view) if latest else None,
        )
    return section("placements", "Placements", _counts(view), *body, more=more)


def listing(view: View, state: State | None, found: tuple[list[Placement], int] | None, offset: int) -> Html:
    """`found`: one page and the total; None when the store did not answer."""
    link = "?" + urlencode({"show": "placements", **({"state": state.value} if state is not None else {})})
    heading = f"Placements: {state.value}" if state is not None else "Placements"
    if found is None:
        return section(
            "placements", heading, _counts(view), unanswered("placements are not known"), level="h1"
        )
    rows, total = found
    return section(
        "placements",
        heading,
        _counts(view),
        _table("Placements, newest first", rows, view) if rows else None,
        pages(total, LIST_LIMIT, offset, link),
        level="h1",
    )


def _counts(view: View) -> Html | None:
    """Each state that there is one in, a way to its list."""
    items = [
        element(
            "li",
            element(
                "a",
                status(kind_of(state), f"{state.value} "),
                element("b", f"{count:,}"),
                href="?" + urlencode({"show": "placements", "state": state.value}),
            ),
        )
        for state in State
        if (count := view.tallies.placements.get(state, 0))
    ]
    return element("ul", *items, class_="groups") if items else None


def _table(caption: str, placements: Iterable[Placement], view: View) -> Html:
    return table(caption, _HEADINGS, (_row(placement, view) for placement in placements))


def _row(placement: Placement, view: View) -> Row:
    request = placement.request
    link = element("a", request.name, href=link_to(placement.id))
    cells = (
        together(link, element("span", request.plan, class_="remark")),
        Cell(life(placement.state), "short"),
        placement.region or Cell("none yet" if placement.state in OPEN else "none", "quiet"),
        element("code", placement.instance_id) if placement.instance_id else Cell("none", "quiet"),
        Cell(placement.reason or _why(placement, view), "quiet long"),
        ago(placement.updated_at, view.shaper),
    )
    return Row(placement.id, cells)


def _why(placement: Placement, view: View) -> str:
    """Why it is where it is, in a few words; its own page has the whole decision."""
    decision = view.stored.decisions.get(placement.id) if view.stored is not None else None
    if decision is None or decision.region != placement.region:
        return ""
    eligible = [considered for considered in decision.considered if considered.eligible]
    if len(eligible) == 1:
        return f"the only eligible region, {milliseconds(eligible[0].latency_ms)}"
    chosen = next((c for c in eligible if c.region == decision.region), None)
    if chosen is None:
        return decision.policy
    return f"rank {chosen.rank} of {len(eligible)} eligible, {milliseconds(chosen.latency_ms)}"


def link_to(placement_id: str) -> str:
    return "?" + urlencode({"placement": placement_id})


def kind_of(state: State) -> Kind:
    return _KINDS.get(state, Kind.IDLE)


def life(state: State) -> Html:
    """How far it has come, as four steps, and its state in words."""
    here = _STEPS.index(state) if state in _STEPS else {State.VERIFYING: 1, State.HELD: 1}.get(state, -1)
    steps = [
        element("circle", cx=str(5 + 14 * n), cy="5", r="3.5", class_="done" if n <= here else None)
        for n in range(len(_STEPS))
    ]
    lines = [element("path", d=f"M{9 + 14 * n} 5h6") for n in range(len(_STEPS) - 1)]
    drawn = element(
        "svg",
        *lines,
        *steps,
        class_=f"life {kind_of(state)}",
        viewBox="0 0 52 10",
        width="52",
        height="10",
        aria_hidden="true",
    )
    return together(status(kind_of(state), state.value), drawn)
