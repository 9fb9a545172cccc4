"""Commands about placements: place, placements, cancel, resolve."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer

from nexusd.cli import lookup
from nexusd.cli.daemon import Daemon, listed, meta_total, segment
from nexusd.cli.explaining import PATH, print_considered, print_whole, summary
from nexusd.cli.options import DEFAULT_URL, PLACEMENT_STATES, PLANS, Format, Output, Token, Url, one_of
from nexusd.cli.output import note, note_warnings, print_fields, print_json, printable, show, when
from nexusd.cli.tables import print_table
from nexusd.core.durations import parse_duration
from nexusd.core.errors import NexusdError

RUNNING = "running"
CLOSED = frozenset({RUNNING, "failed", "cancelled", "expired"})


class PlacementEndedError(NexusdError):
    """It ended, and no instance runs."""


def place(
    name: Annotated[str, typer.Argument(show_default=False, help="Instance name.")],
    plan: Annotated[
        str,
        typer.Option(show_default=False, autocompletion=one_of(*PLANS), help="starter, pro or enterprise."),
    ],
    image: Annotated[str | None, typer.Option(show_default=False, help="OS base image.")] = None,
    ssh_key: Annotated[
        list[str] | None, typer.Option(show_default=False, help="SSH key ID to inject; repeatable.")
    ] = None,
    region: Annotated[
        list[str] | None, typer.Option(show_default=False, help="Allowed region; repeatable.")
    ] = None,
    avoid_region: Annotated[
        list[str] | None, typer.Option(show_default=False, help="Region to avoid; repeatable.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="CEL", show_default=False, help="Condition, e.g. 'region.latency_ms < 80'."),
    ] = None,
    spread_group: Annotated[
        str | None, typer.Option(show_default=False, help="Group to spread evenly over regions.")
    ] = None,
    max_skew: Annotated[
        int | None,
        typer.Option(min=1, show_default=False, help="With --spread-group: maximum skew (1)."),
    ] = None,
    priority: Annotated[int, typer.Option(help="Queue priority; higher goes first.")] = 0,
    deadline: Annotated[
        str | None,
        typer.Option(
            metavar="TIME|DURATION", show_default=False, help="Expire if still queued at this time."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the decision; create nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it runs or has failed.")] = False,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", show_default=False, help="With --wait: stop waiting after this time."
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """Create an instance in the best region.

    The region is allowed, healthy, has capacity, and has the lowest latency.
    """
    if max_skew is not None and spread_group is None:
        raise typer.BadParameter("needs --spread-group", param_hint="--max-skew")
    if timeout is not None and not wait:
        raise typer.BadParameter("needs --wait", param_hint="--timeout")
    limit_s = _seconds(timeout) if timeout is not None else None
    optional = {
        "image": image,
        "ssh_keys": ssh_key,
        "regions": region or None,
        "avoid_regions": avoid_region,
        "where": where,
        "spread": {"group": spread_group, "max_skew": max_skew or 1} if spread_group is not None else None,
        "priority": priority or None,
        "deadline": deadline,
    }
    body = {"name": name, "plan": plan} | {key: value for key, value in optional.items() if value is not None}
    daemon = Daemon(url, token)
    if dry_run:
        decision = daemon.post("/api/v1/plan", body)
        note_warnings(decision)
        _show_plan(decision, output)
        return
    placement = daemon.post(PATH, body, key=str(uuid.uuid4()))
    note_warnings(placement)
    if wait:
        placement = _followed(daemon, placement, limit_s, output)
    _show_result(placement, output)


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{printable(text)!r} is not {error}", param_hint="--timeout") from None


def _show_plan(decision: dict[str, Any], output: Output) -> None:
    """A plan that finds no region is an answer, and fails as the placement would wait."""
    if output is Output.JSON:
        print_json(decision)
    else:
        print_considered(decision)
    if decision.get("region") is None:
        raise PlacementEndedError(f"no region now: {show(decision.get('reason'))}")
    if output is Output.TABLE:
        note(f"it would go to {decision['region']}; nothing was created")


def _followed(
    daemon: Daemon, placement: dict[str, Any], limit_s: float | None, output: Output
) -> dict[str, Any]:
    from nexusd.cli.following import follow

    return follow(daemon, placement, limit_s, quiet=output is Output.JSON)


def _show_result(placement: dict[str, Any], output: Output) -> None:
    if output is Output.JSON:
        print_json(placement)
    else:
        print_fields(summary(placement))
    if placement.get("state") in CLOSED - {RUNNING}:
        reason = placement.get("reason")
        said = f": {printable(str(reason))}" if reason else ""
        raise PlacementEndedError(f"{show(placement.get('name'))} is {placement['state']}{said}")


def placements(
    placement_id: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", show_default=False, help="Placement ID, its beginning, or the name."),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            show_default=False,
            autocompletion=one_of(*PLACEMENT_STATES),
            help="State to filter by, e.g. queued.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Maximum number of rows; 0 is all.")] = 100,
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """List placements, newest first, or show one of them."""
    daemon = Daemon(url, token)
    if placement_id is not None:
        placement = daemon.get(f"{PATH}/{segment(lookup.placement_id(daemon, placement_id))}")
        print_json(placement) if output is Output.JSON else print_whole(placement)
        return
    answer = daemon.pages(PATH, {"state": state}, limit)
    if output is Output.JSON:
        print_json(answer)
        return
    rows = listed(answer)
    columns = ("id", "name", "plan", "state", "region", "instance_id")
    print_table(
        [*(c.replace("_", " ") for c in columns), "created", "reason"],
        [[*(row.get(c) for c in columns), when(row.get("created_at")), row.get("reason")] for row in rows],
        words=("reason",),
        optional=("plan", "instance id", "created", "region", "reason"),
    )
    if len(rows) < meta_total(answer):
        note(f"{len(rows)} of {meta_total(answer)} shown; --limit 0 shows all")


def cancel(
    placement_id: Annotated[
        str,
        typer.Argument(metavar="ID", show_default=False, help="Placement ID, its beginning, or the name."),
    ],
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """Cancel a queued placement.

    A placement that is being created cannot be cancelled.
    """
    daemon = Daemon(url, token)
    placement = daemon.delete(f"{PATH}/{segment(lookup.placement_id(daemon, placement_id))}")
    if output is Output.JSON:
        print_json(placement)
    else:
        print(f"{show((placement or {}).get('name') or placement_id)} is cancelled")


def resolve(
    placement_id: Annotated[
        str,
        typer.Argument(metavar="ID", show_default=False, help="Placement ID, its beginning, or the name."),
    ],
    exists: Annotated[bool, typer.Option("--exists", help="The instance was created: follow it.")] = False,
    absent: Annotated[
        bool, typer.Option("--absent", help="It was not, and never will be: queue again.")
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """Decide a held placement, whose create response was lost.

    Check the provider's console first: --absent for an instance that exists creates a second one.
    """
    if exists == absent:
        raise typer.BadParameter("exactly one of them is needed", param_hint="--exists, --absent")
    daemon = Daemon(url, token)
    path = f"{PATH}/{segment(lookup.placement_id(daemon, placement_id))}/resolve"
    placement = daemon.post(path, {"outcome": "exists" if exists else "absent"})
    if output is Output.JSON:
        print_json(placement)
        return
    answered = placement or {}
    where = f" in {show(answered['region'])}" if answered.get("region") else ""
    print(f"{show(answered.get('name') or placement_id)} is {show(answered.get('state'))}{where}")
