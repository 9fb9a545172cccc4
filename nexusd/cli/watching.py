"""Commands that show what a running daemon knows: status, regions, instances, fleets, metrics."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from nexusd.cli.daemon import Daemon, listed, meta_total
from nexusd.cli.options import DEFAULT_URL, Format, Output, Token, Url
from nexusd.cli.output import note, print_fields, print_json, print_table, show


def status(url: Url = DEFAULT_URL, token: Token = None, output: Format = Output.TABLE) -> None:
    """What the daemon knows, in short: is it ready, how fresh is its data, what is there, what is wrong."""
    answer = Daemon(url, token).get("/api/v1/status")
    if output is Output.JSON:
        print_json(answer)
        return
    print_fields(_overview(answer))
    alerts = _part(answer, "alerts").get("active") or []
    if alerts:
        print()
        print_table(("alert", "severity", "state", "about", "since"), [_alert(alert) for alert in alerts])


def _overview(answer: dict[str, Any]) -> list[tuple[str, Any]]:
    instances, regions, alerts = (_part(answer, key) for key in ("instances", "regions", "alerts"))
    placements, outbox = _part(answer, "placements"), _part(answer, "outbox")
    ready = "yes" if answer.get("ready") else f"no: {show(answer.get('not_ready_reason'))}"
    return [
        ("version", answer.get("version")),
        ("ready", ready),
        ("leader", answer.get("leader")),
        *((f"{name} data", _freshness(poll)) for name, poll in _part(answer, "resources").items()),
        ("regions", _counted(regions, "healthy", "with_capacity", "eligible")),
        ("best region", regions.get("best")),
        ("instances", _counted(instances, **_nonzero(_part(instances, "by_status")))),
        ("placements", _counted({}, **_nonzero(_part(placements, "by_state")))),
        ("alerts", _counted({}, firing=alerts.get("firing", 0), pending=alerts.get("pending", 0))),
        ("notifications", _counted({}, pending=outbox.get("pending", 0), dead=outbox.get("dead", 0))),
    ]


def _part(answer: Any, key: str) -> dict[str, Any]:
    part = answer.get(key) if isinstance(answer, dict) else None
    return part if isinstance(part, dict) else {}


def _nonzero(counts: dict[str, Any]) -> dict[str, Any]:
    return {name: count for name, count in counts.items() if count}


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


def _alert(alert: dict[str, Any]) -> tuple[Any, ...]:
    labels = _part(alert, "labels")
    known = ("alertname", "severity")
    about = ", ".join(f"{key}={value}" for key, value in labels.items() if key not in known)
    since = alert.get("fired_at") or alert.get("active_at")
    return labels.get("alertname"), labels.get("severity"), alert.get("state"), about, since


def regions(url: Url = DEFAULT_URL, token: Token = None, output: Format = Output.TABLE) -> None:
    """Every region with its latency, and whether an instance without constraints could go there now."""
    answer = Daemon(url, token).get("/api/v1/regions")
    if output is Output.JSON:
        print_json(answer)
        return
    print_table(
        ("region", "name", "status", "latency ms", "capacity", "instances", "eligible", "why not"),
        [
            tuple(
                region.get(key)
                for key in (
                    "slug",
                    "name",
                    "status",
                    "latency_ms",
                    "capacity",
                    "instances",
                    "eligible",
                    "reasons",
                )
            )
            for region in answer.get("regions", [])
        ],
    )
    note(f"observed at {show(answer.get('observed_at'))}")


def instances(
    region: Annotated[str | None, typer.Option(show_default=False, help="Only in this region.")] = None,
    status: Annotated[str | None, typer.Option(show_default=False, help="Only with this status.")] = None,
    name: Annotated[str | None, typer.Option(show_default=False, help="Only with this name.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Show at most this many; 0 is all.")] = 100,
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """Instances as last seen; the API is not asked for this."""
    wanted = {"region": region, "status": status, "name": name}
    answer = Daemon(url, token).pages("/api/v1/instances", wanted, limit)
    if output is Output.JSON:
        print_json(answer)
        return
    rows = listed(answer)
    columns = ("id", "name", "status", "region", "public_ip", "created_at")
    print_table([c.replace("_", " ") for c in columns], [[row.get(c) for c in columns] for row in rows])
    if len(rows) < meta_total(answer):
        note(f"{len(rows)} of {meta_total(answer)} shown; --limit 0 shows all")


def fleets(
    limit: Annotated[int, typer.Option(min=0, help="Show at most this many; 0 is all.")] = 100,
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """Declared fleets: how many of each are alive and in flight, where, and what a fleet waits for."""
    answer = Daemon(url, token).pages("/api/v1/fleets", {}, limit)
    if output is Output.JSON:
        print_json(answer)
        return
    rows = listed(answer)
    columns = ("name", "plan", "count", "alive", "in_flight", "missing", "surplus")
    print_table(
        [*(c.replace("_", " ") for c in columns), "regions", "waits for"],
        [[*(row.get(c) for c in columns), _regions(row), _waits_for(row)] for row in rows],
    )
    if len(rows) < meta_total(answer):
        note(f"{len(rows)} of {meta_total(answer)} shown; --limit 0 shows all")
    note(f"observed at {show(answer.get('observed_at'))}")


def _regions(fleet: dict[str, Any]) -> str:
    """`us-east-1: 4, eu-west-2: 2`."""
    return ", ".join(f"{region}: {count}" for region, count in _part(fleet, "by_region").items())


def _waits_for(fleet: dict[str, Any]) -> str | None:
    reason, at = fleet.get("reason"), fleet.get("next_try_at")
    return f"{reason} (next try at {at})" if reason and at else reason


def metrics(url: Url = DEFAULT_URL, token: Token = None) -> None:
    """The daemon's metrics, as Prometheus reads them."""
    sys.stdout.write(Daemon(url, token).text("/metrics"))
