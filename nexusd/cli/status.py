"""`nexusd status`: what there is, on one screen; and whether anything is wrong, as the exit code."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from typing import Any

from nexusd.cli.daemon import Daemon, part
from nexusd.cli.options import DEFAULT_URL, Format, Output, Token, Url
from nexusd.cli.output import duration, note, on_terminal, print_fields, print_json, show, when
from nexusd.cli.tables import GAP, print_table
from nexusd.core.errors import NexusdError

HARMLESS = frozenset({"none", "info"})
"""Severities of alerts with which nothing is wrong."""
CALLED = ("name", "fleet", "receiver", "region")
"""Labels that people know a thing by."""
BRIEF = 28
"""Characters of what an alert is about, on a terminal."""
NAMED = 3
"""Alerts named in the last line."""
BESIDE = 5
"""Lines of a screen that are for other than fields and alerts: what was typed, headings, what is wrong."""


class TroubleError(NexusdError):
    """The daemon answers, and something is wrong."""


def status(url: Url = DEFAULT_URL, token: Token = None, output: Format = Output.TABLE) -> None:
    """What the daemon knows, on one screen: is it ready, how fresh is its data, what is there, what is wrong.

    Exits with 1 when something is: it is not ready, its data is stale, or an alert fires that is not muted
    and of a severity above info.
    """
    answer = Daemon(url, token).get("/api/v1/status")
    if output is Output.JSON:
        print_json(answer)
    else:
        _print(answer)
    wrong = "; ".join(_wrong(answer))
    if wrong:
        raise TroubleError(wrong)


def _print(answer: dict[str, Any]) -> None:
    fields = list(_overview(answer))
    print_fields(fields)
    alerts = [alert for alert in _alerts(answer) if _severity(alert) != "none"]
    if not alerts:
        return
    shown = alerts[: _room(fields)] if on_terminal() else alerts
    print()
    headings = ("alert", "severity", "state", "about", "since")
    print_table(headings, [_row(alert) for alert in shown], optional=("about",))
    if len(shown) < len(alerts):
        note(f"{len(alerts) - len(shown)} more: nexusd alerts")


def _room(fields: list[tuple[str, Any]]) -> int:
    """How many alerts there is room for, a line each, on the screen and under the fields."""
    screen = shutil.get_terminal_size()
    beside = max(screen.columns - max(len(name) for name, _ in fields) - GAP, 1)
    taken = sum(math.ceil(len(show(value)) / beside) for _, value in fields)
    return max(screen.lines - taken - BESIDE, 1)


def _overview(answer: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    instances, regions, alerts = (part(answer, key) for key in ("instances", "regions", "alerts"))
    placements, outbox = part(answer, "placements"), part(answer, "outbox")
    yield "version", answer.get("version")
    yield "ready", "yes" if answer.get("ready") else f"no: {show(answer.get('not_ready_reason'))}"
    yield "leader", answer.get("leader")
    uptime_s = answer.get("uptime_s")
    yield "up", duration(uptime_s) if isinstance(uptime_s, int | float) else None
    for name, poll in part(answer, "resources").items():
        yield f"{name} data", _freshness(poll)
    yield "regions", _counted(regions, "healthy", "with_capacity", "eligible")
    yield "best region", regions.get("best")
    yield "instances", _counted(instances, **_nonzero(part(instances, "by_status")))
    yield "placements", _counted({}, **_nonzero(part(placements, "by_state")))
    yield (
        "alerts",
        _counted({}, **{key: alerts.get(key, 0) for key in ("firing", "pending")}, **_muted(alerts)),
    )
    yield "notifications", _counted({}, **{key: outbox.get(key, 0) for key in ("pending", "dead")})


def _wrong(answer: dict[str, Any]) -> Iterator[str]:
    """What is, in a few words each."""
    if answer.get("ready") is False:
        yield f"not ready: {show(answer.get('not_ready_reason'))}"
    for name, poll in part(answer, "resources").items():
        if isinstance(poll, dict) and poll.get("stale"):
            yield f"{name} data is stale"
    firing = [alert for alert in _alerts(answer) if _alarming(alert)]
    if firing:
        names = list(dict.fromkeys(show(part(alert, "labels").get("alertname")) for alert in firing))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        fires = "alert fires" if len(firing) == 1 else "alerts fire"
        yield f"{len(firing)} {fires}: {', '.join(names[:NAMED])}{more}"


def _alarming(alert: dict[str, Any]) -> bool:
    muted = alert.get("inhibited_by") or alert.get("silenced_by")
    return alert.get("state") == "firing" and _severity(alert) not in HARMLESS and not muted


def _alerts(answer: Any) -> list[dict[str, Any]]:
    found = part(answer, "alerts").get("active")
    return [alert for alert in found if isinstance(alert, dict)] if isinstance(found, list) else []


def _severity(alert: dict[str, Any]) -> Any:
    return part(alert, "labels").get("severity")


def _row(alert: dict[str, Any]) -> tuple[Any, ...]:
    labels = part(alert, "labels")
    since = when(alert.get("fired_at") or alert.get("active_at"))
    return labels.get("alertname"), labels.get("severity"), alert.get("state"), _about(labels), since


def _about(labels: dict[str, Any]) -> str:
    """On a terminal what a person calls it, cut to a width; in a pipe every label."""
    rest = {key: value for key, value in labels.items() if key not in ("alertname", "severity")}
    if not on_terminal():
        return ", ".join(f"{key}={value}" for key, value in rest.items())
    named = [show(rest[key]) for key in CALLED if key in rest]
    about = " in ".join(named) or ", ".join(f"{key}={show(value)}" for key, value in rest.items())
    return about if len(about) <= BRIEF else f"{about[: BRIEF - 1]}…"


def _nonzero(counts: dict[str, Any]) -> dict[str, Any]:
    return {name: count for name, count in counts.items() if count}


def _muted(alerts: dict[str, Any]) -> dict[str, Any]:
    """By what: `inhibited`, `silenced`."""
    return _nonzero(part(alerts, "suppressed"))


def _counted(counts: dict[str, Any], *keys: str, **more: Any) -> str | None:
    """`3: 2 healthy, 1 eligible`."""
    named = {**{key.replace("_", " "): counts.get(key, 0) for key in keys}, **more}
    parts = ", ".join(f"{count} {name}" for name, count in named.items())
    if "total" not in counts:
        return parts or None
    return f"{counts['total']}: {parts}" if parts else str(counts["total"])


def _freshness(poll: Any) -> str:
    if not isinstance(poll, dict) or poll.get("age_s") is None:
        return "none yet" + _failure(poll)
    return f"{poll['age_s']:.0f} s old{', stale' if poll.get('stale') else ''}" + _failure(poll)


def _failure(poll: Any) -> str:
    failure = poll.get("failure") if isinstance(poll, dict) else None
    return f" (last poll failed: {poll.get('failure_message') or failure})" if failure else ""
