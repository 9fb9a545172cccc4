"""Fleets: what is declared against what is alive."""

from __future__ import annotations

from nexusd.core.fleets import FleetState
from nexusd.core.region_names import constraint_warnings
from nexusd.web.page.frame import lead, section, unanswered
from nexusd.web.page.html import Cell, Html, Row, element, table, together
from nexusd.web.page.reading import View
from nexusd.web.page.words import Kind, plural, status, until

_WIDTH = 100
_HEADINGS = ("Fleet", "Alive", "Declared", "In flight", "Note")


def overview(view: View) -> Html:
    declared = len(view.world.fleets.specs)
    if not declared:
        return section("fleets", "Fleets", lead("No fleet is declared in the configuration."))
    if view.fleets is None:
        return section("fleets", "Fleets", unanswered("what is in flight is not known"))
    more = f", the first {len(view.fleets)} shown" if len(view.fleets) < declared else ""
    return section(
        "fleets",
        "Fleets",
        lead(f"{plural(declared, 'fleet', 'fleets')} declared{more}."),
        table(
            "Fleets, in the order of the configuration",
            _HEADINGS,
            (_row(state, view) for state in view.fleets),
        ),
    )


def _row(state: FleetState, view: View) -> Row:
    spec = state.spec
    enough = state.alive >= spec.count
    cells = (
        together(element("b", spec.name), element("span", spec.plan, class_="remark")),
        Cell(
            together(status(Kind.GOOD if enough else Kind.BAD, f"{state.alive:,}"), _gauge(state)), "number"
        ),
        Cell(f"{spec.count:,}", "number"),
        Cell(f"{len(state.in_flight):,}", "number"),
        _note(state, view),
    )
    return Row(spec.name, cells)


def _note(state: FleetState, view: View) -> object:
    spec, regions = state.spec, view.world.regions
    warnings = constraint_warnings(spec.regions, spec.avoid_regions, regions)
    notes: list[object] = [status(Kind.POOR, warning) for warning in warnings]
    if state.surplus:
        notes.append(status(Kind.POOR, f"{state.surplus:,} more than declared; nothing can be deleted"))
    if state.adopted:
        members = plural(state.adopted, "member", "members")
        notes.append(status(Kind.IDLE, f"counts {members} that the fleet did not create"))
    if state.reason is not None:
        notes.append(status(Kind.POOR, state.reason))
    if state.next_try_at is not None:
        notes.append(together(" next try ", until(state.next_try_at, view.shaper)))
    return together(*notes) if notes else Cell("as declared" if not state.missing else "", "quiet")


def _gauge(state: FleetState) -> Html:
    """How much of what is declared is alive; the numbers beside it say it, too."""
    whole = max(1, state.spec.count, state.alive)
    width = state.alive * _WIDTH / whole
    return element(
        "svg",
        element("rect", x="0", y="0", width=str(_WIDTH), height="6", class_="ground"),
        element("rect", x="0", y="0", width=f"{width:.1f}", height="6"),
        class_="gauge",
        viewBox=f"0 0 {_WIDTH} 6",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
