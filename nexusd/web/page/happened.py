"""What happened last, a line an event."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nexusd.core.census import UNTOLD_SEVERITY
from nexusd.core.events import Event
from nexusd.web.page.frame import lead, section, unanswered
from nexusd.web.page.html import Html, element
from nexusd.web.page.placements import link_to
from nexusd.web.page.reading import View
from nexusd.web.page.words import Kind, ago, status

_WORD = re.compile(r"(?<!^)(?=[A-Z])")
_KINDS: Mapping[str, Kind] = {
    "InstanceVanished": Kind.BAD,
    "RegionVanished": Kind.BAD,
}
_GOOD = frozenset({"healthy", "running", "True"})
_BAD = frozenset({"stopped", "terminated", "failed", "held", "down", "degraded", "False"})


def overview(view: View) -> Html:
    if view.stored is None:
        return section("events", "What happened", unanswered("what happened is not known"))
    if not view.stored.events:
        return section("events", "What happened", lead("Nothing yet."))
    items = [_event(event, view) for event in view.stored.events]
    return section("events", "What happened", element("ol", *items, class_="events"))


def _event(event: Event, view: View) -> Html:
    subject = event.subject
    name: object = subject.name or subject.id
    if subject.kind == "placement":
        name = element("a", name, href=link_to(subject.id))
    where = f" in {subject.region}" if subject.region and subject.kind != "region" else ""
    return element(
        "li",
        ago(event.at, view.shaper),
        element(
            "span",
            status(_kind(event), _what(event)),
            " ",
            element("b", name),
            _detail(event.detail, where),
        ),
        data_key=str(event.id),
    )


def _what(event: Event) -> str:
    """A change from one state to another says so itself; anything else is told by its type."""
    if "from" in event.detail:
        return event.subject.kind.capitalize()
    return _WORD.sub(" ", event.type).capitalize()


_SEVERITIES: Mapping[object, Kind] = {
    "critical": Kind.BAD,
    "info": Kind.IDLE,
    UNTOLD_SEVERITY: Kind.IDLE,
}


def _kind(event: Event) -> Kind:
    if event.subject.kind == "alert":
        return _alert_kind(event)
    to = str(event.detail.get("to"))
    if to in _GOOD:
        return Kind.GOOD
    return Kind.BAD if to in _BAD else _KINDS.get(event.type, Kind.IDLE)


def _alert_kind(event: Event) -> Kind:
    """Return an alert's colour: the Watchdog and informational alerts are neutral."""
    labels = event.detail.get("labels")
    severity = labels.get("severity") if isinstance(labels, Mapping) else None
    fired = _SEVERITIES.get(severity, Kind.POOR)
    if event.type == "AlertFired" or fired is Kind.IDLE:
        return fired
    return Kind.GOOD if event.type == "AlertResolved" else Kind.IDLE


def _detail(detail: Mapping[str, object], where: str) -> str:
    text = where
    if "from" in detail and "to" in detail:
        text = f" {_word(detail['from'])} → {_word(detail['to'])}{where}"
    why = detail.get("reason") or detail.get("summary") or detail.get("comment")
    return f"{text}: {why}" if why else text


def _word(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
