"""`nexusd explain`, and how a placement, its attempts and its decisions are printed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from nexusd.cli import lookup
from nexusd.cli.daemon import Daemon, segment
from nexusd.cli.options import DEFAULT_URL, Format, Output, Token, Url
from nexusd.cli.output import note, note_warnings, print_fields, print_json, show
from nexusd.cli.tables import print_table

PATH = "/api/v1/placements"


def explain(
    placement_id: Annotated[
        str,
        typer.Argument(metavar="ID", show_default=False, help="Placement ID, its beginning, or the name."),
    ],
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """Explain where a placement went, or why it waits.

    Shows all decisions, regions and attempts.
    """
    daemon = Daemon(url, token)
    placement = daemon.get(f"{PATH}/{segment(lookup.placement_id(daemon, placement_id))}")
    note_warnings(placement)
    decisions = placement.get("decisions") or []
    now = _if_decided_now(daemon, placement) if not decisions and placement.get("state") == "queued" else None
    if output is Output.JSON:
        print_json(placement | ({"if_decided_now": now} if now is not None else {}))
        return
    print_fields([*summary(placement), *_asked(placement)])
    _print_attempts(placement)
    for decision in decisions:
        print()
        _print_decision("decided", decision)
    if now is not None:
        print("\nnot decided yet: others are before it, or creates are limited for now")
        _print_decision("if decided", now)
    elif not decisions:
        print("\nnever decided")
    if placement.get("state") == "held":
        note(f"a person decides: nexusd resolve {show(placement.get('id'))} --exists|--absent")


def _if_decided_now(daemon: Daemon, placement: dict[str, Any]) -> Any:
    """What one whose turn has not come would get: the same question, as a plan."""
    constraints = placement.get("constraints") or {}
    asked = {key: placement.get(key) for key in ("name", "plan", "image")} | constraints
    return daemon.post("/api/v1/plan", {key: value for key, value in asked.items() if value})


def print_whole(placement: dict[str, Any]) -> None:
    """One placement with its attempts."""
    print_fields(summary(placement))
    _print_attempts(placement)


def print_considered(decision: dict[str, Any]) -> None:
    """Every region of a decision, the eligible first."""
    considered = decision.get("considered") or []
    columns = ["region", "eligible", "rank", "latency_ms", "smoothed_ms", "instances", "reasons"]
    if all(each.get("smoothed_ms") is None for each in considered):
        columns.remove("smoothed_ms")
    headings = ["why not" if column == "reasons" else column.replace("_", " ") for column in columns]
    rows = [[_cell(each, column) for column in columns] for each in considered]
    print_table(headings, rows, words=("why not",), optional=("instances", "rank", "why not"))


def summary(placement: dict[str, Any]) -> list[tuple[str, Any]]:
    keys = ("id", "name", "plan", "state", "reason", "region", "instance_id", "created_at", "updated_at")
    return [(key.replace("_", " "), placement.get(key)) for key in keys]


def _asked(placement: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the request asks of a region, and when it is its turn, where it says anything of it."""
    constraints = placement.get("constraints") or {}
    given = {
        "allowed regions": constraints.get("regions"),
        "avoided regions": constraints.get("avoid_regions"),
        "where": constraints.get("where"),
        "spread": _spread(constraints.get("spread")),
        "priority": placement.get("priority"),
        "deadline": placement.get("deadline"),
        "fleet": placement.get("fleet"),
    }
    return ((name, value) for name, value in given.items() if value)


def _spread(spread: Any) -> str | None:
    if not isinstance(spread, dict):
        return None
    return f"group {show(spread.get('group'))}, at most {show(spread.get('max_skew'))} apart"


def _print_attempts(placement: dict[str, Any]) -> None:
    attempts = placement.get("attempts") or []
    if attempts:
        print()
        columns = ("number", "region", "sent_at", "outcome", "detail")
        headings = ("attempt", "region", "sent at", "outcome", "detail")
        print_table(headings, [[attempt.get(c) for c in columns] for attempt in attempts], words=("detail",))


def _print_decision(begin: str, decision: dict[str, Any]) -> None:
    region = decision.get("region")
    chosen = show(region) if region else f"none: {show(decision.get('reason'))}"
    age_s = decision.get("data_age_s")
    aged = f" ({show(age_s)} s old)" if age_s is not None else ""
    print(f"{begin} {show(decision.get('decided_at'))}: {chosen}")
    print(f"policy {show(decision.get('policy'))}, data of {show(decision.get('observed_at'))}{aged}")
    print_considered(decision)


def _cell(considered: dict[str, Any], column: str) -> Any:
    """A reason may have commas of its own."""
    value = considered.get(column)
    return "; ".join(str(reason) for reason in value) if column == "reasons" and value else value
