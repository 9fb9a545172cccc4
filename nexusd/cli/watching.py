"""Commands that show what a running daemon knows: regions, instances, fleets, metrics."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from nexusd.cli.daemon import Daemon, listed, meta_total, part
from nexusd.cli.options import DEFAULT_URL, INSTANCE_STATUSES, Format, Output, Token, Url, one_of
from nexusd.cli.output import note, note_warnings, on_terminal, print_json, printable, show, when
from nexusd.cli.tables import print_table
from nexusd.core.errors import NexusdError


def regions(url: Url = DEFAULT_URL, token: Token = None, output: Format = Output.TABLE) -> None:
    """List regions with their latency, and whether an instance can be placed there."""
    answer = Daemon(url, token).get("/api/v1/regions")
    if output is Output.JSON:
        print_json(answer)
        return
    headings = ("region", "name", "status", "latency ms", "capacity", "instances", "eligible", "why not")
    print_table(
        headings,
        [_region(region) for region in sorted(answer.get("regions") or [], key=_rank)],
        words=("why not",),
        optional=("name", "instances", "why not"),
    )
    note(f"observed {show(when(answer.get('observed_at')))}")


def _rank(region: dict[str, Any]) -> tuple[bool, int]:
    """The next placement's region first; those that are not eligible last, as they are listed."""
    rank = region.get("rank")
    return rank is None, rank if isinstance(rank, int) else 0


def _region(region: dict[str, Any]) -> list[Any]:
    columns = ("slug", "name", "status", "latency_ms", "capacity", "instances", "eligible")
    reasons = dict.fromkeys(str(reason) for reason in region.get("reasons") or [])
    return [*(region.get(column) for column in columns), "; ".join(reasons)]


def instances(
    region: Annotated[str | None, typer.Option(show_default=False, help="Region to filter by.")] = None,
    status: Annotated[
        str | None,
        typer.Option(
            show_default=False,
            autocompletion=one_of(*INSTANCE_STATUSES),
            help="Status to filter by, e.g. running.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(show_default=False, help="Name to filter by.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Maximum number of rows; 0 is all.")] = 100,
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """List instances as last polled."""
    wanted = {"region": region, "status": status, "name": name}
    answer = Daemon(url, token).pages("/api/v1/instances", wanted, limit)
    if output is Output.JSON:
        print_json(answer)
        return
    rows = listed(answer)
    columns = ("id", "name", "status", "region", "public_ip")
    print_table(
        [*(c.replace("_", " ") for c in columns), "created"],
        [[*(row.get(c) for c in columns), when(row.get("created_at"))] for row in rows],
        optional=("created", "public ip"),
    )
    if len(rows) < meta_total(answer):
        note(f"{len(rows)} of {meta_total(answer)} shown; --limit 0 shows all")


def fleets(
    limit: Annotated[int, typer.Option(min=0, help="Maximum number of rows; 0 is all.")] = 100,
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """List fleets: instances declared, alive and in flight, and why a fleet waits."""
    answer = Daemon(url, token).pages("/api/v1/fleets", {}, limit)
    if output is Output.JSON:
        print_json(answer)
        return
    rows = listed(answer)
    for row in rows:
        note_warnings(row, f"fleet {show(row.get('name'))}: ")
        if row.get("adopted"):
            note(
                f"fleet {show(row.get('name'))}: counts {show(row['adopted'])} members that it did not create"
            )
    columns = ("name", "plan", "count", "alive", "in_flight", "missing", "surplus")
    print_table(
        [*(c.replace("_", " ") for c in columns), "regions", "waits for"],
        [[*(row.get(c) for c in columns), _regions(row), _waits_for(row)] for row in rows],
        words=("regions", "waits for"),
        optional=("plan", "surplus", "in flight", "waits for"),
    )
    if len(rows) < meta_total(answer):
        note(f"{len(rows)} of {meta_total(answer)} shown; --limit 0 shows all")
    note(f"observed {show(when(answer.get('observed_at')))}")


def _regions(fleet: dict[str, Any]) -> str:
    """`us-east-1: 4, eu-west-2: 2`."""
    return ", ".join(f"{region}: {count}" for region, count in part(fleet, "by_region").items())


def _waits_for(fleet: dict[str, Any]) -> str | None:
    reason, at = fleet.get("reason"), fleet.get("next_try_at")
    return f"{reason} (next try {when(at)})" if reason and at else reason


def metrics(url: Url = DEFAULT_URL, token: Token = None, output: Format = Output.TABLE) -> None:
    """Print the daemon's metrics in Prometheus's text format.

    On a terminal, control characters in names are escaped.
    """
    text = Daemon(url, token).text("/metrics")
    if output is Output.JSON:
        print_json(_families(text))
        return
    if on_terminal():
        text = "\n".join(map(printable, text.split("\n")))
    sys.stdout.write(text)


def _families(text: str) -> list[dict[str, Any]]:
    """Raises `NexusdError` for what is not in the text format."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        return [
            {
                "name": family.name,
                "help": family.documentation,
                "type": family.type,
                "samples": [
                    {"name": s.name, "labels": s.labels, "value": repr(s.value)} for s in family.samples
                ],
            }
            for family in text_string_to_metric_families(text)
        ]
    except ValueError:
        raise NexusdError("the daemon's metrics cannot be read") from None
