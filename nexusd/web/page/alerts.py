"""Alerts: what fires or is pending, since when, and what mutes it."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.muting import Muted
from nexusd.core.silences import Silence, SilenceState
from nexusd.core.world import World
from nexusd.web.page.frame import folded, lead, pages, section
from nexusd.web.page.html import Cell, Html, Row, element, table, together
from nexusd.web.page.reading import View
from nexusd.web.page.words import Kind, ago, plural, status, until

SHOWN = 10
FOLDED = 20
MAX_SILENCES = 20
LIST_LIMIT = 50
MAX_GROUPS = 40
_HEADINGS = ("Alert", "State", "About", "Since", "Muted")


def overview(view: View) -> Html:
    """The most pressing ones; how many of each kind where there are more."""
    shown = view.alerts
    if not shown:
        none = lead("No alerts are firing or pending.")
        return section("alerts", "Alerts", _unsent(view), none, _silences(view))
    more = element("a", f"All {len(shown):,}", href="?show=alerts") if len(shown) > SHOWN + FOLDED else None
    rest = shown[SHOWN : SHOWN + FOLDED]
    return section(
        "alerts",
        "Alerts",
        _unsent(view),
        _groups(view) if len(shown) > SHOWN else None,
        _table("Alerts, most pressing first", shown[:SHOWN], view),
        folded(f"{len(rest)} more", _table("More alerts", rest, view), "more-alerts") if rest else None,
        _silences(view),
        more=more,
    )


def _unsent(view: View) -> Html | None:
    """Nothing where a receiver is configured."""
    if view.has_receivers:
        return None
    return lead("No receiver is configured: alerts are shown here and sent to no one.")


def listing(view: View, name: str | None, offset: int) -> Html:
    """All of them, or those of one name, a page at a time."""
    ordered = view.alerts
    found = [a for a in ordered if a.name == name] if name is not None else ordered
    link = "?" + urlencode({"show": "alerts", **({"name": name} if name is not None else {})})
    return section(
        "alerts",
        f"Alerts: {name}" if name is not None else "Alerts",
        _groups(view),
        _table("Alerts, most pressing first", found[offset : offset + LIST_LIMIT], view) if found else None,
        pages(len(found), LIST_LIMIT, offset, link),
        _silences(view),
        level="h1",
    )


def _groups(view: View) -> Html:
    """How many of each name, the firing first, each a way to its list."""
    groups = view.alert_counts.groups
    counts = {(state is not AlertState.FIRING, name): n for (name, state), n in groups.items()}
    items = [
        element(
            "li",
            element(
                "a",
                status(Kind.IDLE if pending else Kind.POOR, f"{name} "),
                element("b", f"{count:,}"),
                " pending" if pending else None,
                href="?" + urlencode({"show": "alerts", "name": name}),
            ),
        )
        for (pending, name), count in sorted(counts.items(), key=lambda c: (c[0][0], -c[1], c[0][1]))[
            :MAX_GROUPS
        ]
    ]
    return element("ul", *items, class_="groups")


def _table(caption: str, alerts: Sequence[Alert], view: View) -> Html:
    return table(caption, _HEADINGS, (_row(alert, view) for alert in alerts))


def _row(alert: Alert, view: View) -> Row:
    muted = view.world.muting.muted.get(alert.fingerprint, Muted())
    reasons = _muted_by(muted, view.world)
    cells = (
        together(element("b", alert.name), element("span", alert.label("severity"), class_="remark")),
        Cell(status(_kind(alert, muted), _state(alert)), "short"),
        Cell(dict(alert.annotations).get("summary") or _labels(alert), "long"),
        ago(alert.active_at, view.shaper),
        Cell("; ".join(reasons) or "no", "quiet"),
    )
    return Row(alert.fingerprint, cells)


def _state(alert: Alert) -> str:
    return f"{alert.state.value}, flapping" if alert.flapping_since is not None else alert.state.value


def _kind(alert: Alert, muted: Muted) -> Kind:
    if alert.state is AlertState.PENDING or muted != Muted() or alert.label("severity") == "info":
        return Kind.IDLE
    return Kind.BAD if alert.label("severity") == "critical" else Kind.POOR


def _labels(alert: Alert) -> str:
    return ", ".join(f"{k}={v}" for k, v in alert.labels if k not in ("alertname", "severity"))


def _muted_by(muted: Muted, world: World) -> list[str]:
    """The alerts that inhibit it, the silences with who made them and why."""
    sources = (world.alerts.get(mark) for mark in muted.inhibited_by)
    silences = (world.silences.get(silence_id) for silence_id in muted.silenced_by)
    reasons = [f"inhibited by {source.name}" for source in sources if source is not None]
    return reasons + [f"silenced by {s.created_by}: {s.comment}" for s in silences if s is not None]


def _silences(view: View) -> Html | None:
    """Nothing where there are none."""
    silences = sorted(view.world.silences.values(), key=lambda silence: silence.ends_at)
    if not silences:
        return None
    rows = [_silence(silence, view) for silence in silences[:MAX_SILENCES]]
    headings = ("Silence", "State", "By", "Ends")
    return folded(plural(len(silences), "silence", "silences"), table("Silences", headings, rows), "silences")


def _silence(silence: Silence, view: View) -> Row:
    active = silence.state(view.now) is SilenceState.ACTIVE
    written = ", ".join(str(each) for each in silence.matchers)
    cells = (
        element("code", written),
        status(Kind.IDLE, "active" if active else "not yet"),
        f"{silence.created_by}: {silence.comment}",
        until(silence.ends_at, view.shaper),
    )
    return Row(silence.id, cells)
