"""`nexusd replay`: where placements would have gone under another policy, from what the daemon recorded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer

from nexusd.cli.options import ConfigFile, Format, Output
from nexusd.cli.output import print_json, printable
from nexusd.cli.replay_report import as_json, print_report
from nexusd.cli.replaying import Asked, make_report
from nexusd.core.durations import parse_duration
from nexusd.core.errors import InputError
from nexusd.core.expressions import region_where
from nexusd.core.replay import Constraints
from nexusd.web.queries import parse_time

T = TypeVar("T")

MILLISECONDS = 1000.0
SHORTEST_S = 1.0
"""A synthetic request at most this often."""


def replay(
    config: ConfigFile = None,
    store: Annotated[
        str | None, typer.Option(metavar="URL", show_default=False, help="The daemon's database (store.url).")
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="DURATION|TIME", help="From this long ago, or from this time on.")
    ] = "24h",
    until: Annotated[
        str | None, typer.Option(metavar="TIME", show_default=False, help="Up to this time; else now.")
    ] = None,
    smoothing: Annotated[
        str | None,
        typer.Option(metavar="DURATION", show_default=False, help="Half-life of smoothed latencies; 0: off."),
    ] = None,
    switch_margin: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            show_default=False,
            help="How much better than the last one a region must be, e.g. 10ms; 0: off.",
        ),
    ] = None,
    max_per_region: Annotated[
        int | None, typer.Option(min=0, show_default=False, help="Instances allowed per region; 0: no cap.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="CEL", show_default=False, help="A condition besides each placement's own."),
    ] = None,
    regions: Annotated[
        str | None, typer.Option(metavar="A,B", show_default=False, help="Allow only these regions.")
    ] = None,
    avoid_regions: Annotated[
        str | None, typer.Option(metavar="A,B", show_default=False, help="Use none of these regions.")
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            show_default=False,
            help="Not the placements, but a request without constraints this often (1m if there are none).",
        ),
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="List also the decisions that agree.")] = False,
    output: Format = Output.TABLE,
) -> None:
    """Decide again on what /regions answered: by the configured policy, and by one with these options, side
    by side. Reads the daemon's database, also while it runs, and changes nothing.
    """
    now = datetime.now(UTC).timestamp()
    constraints = Constraints(
        _given("--regions", regions, _slugs),
        _given("--avoid-regions", avoid_regions, _slugs) or (),
        _given("--where", where, _condition),
    )
    until_at = _given("--until", until, parse_time)
    asked = Asked(
        since=_since(since, now),
        until=until_at if until_at is not None else now,
        smoothing_s=_given("--smoothing", smoothing, parse_duration),
        switch_margin_ms=_given("--switch-margin", switch_margin, _milliseconds),
        max_per_region=max_per_region,
        constraints=constraints,
        every_s=_given("--every", every, _interval),
    )
    if asked.since >= asked.until:
        raise typer.BadParameter("is not before --until, or before now", param_hint="--since")
    report = make_report(config, store, asked)
    print_json(as_json(report)) if output is Output.JSON else print_report(report, show_all=show_all)


def _given(option: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    """None when the option was not given. Raises typer's usage error, which names it."""
    if text is None:
        return None
    try:
        return parse(text)
    except InputError as error:
        raise typer.BadParameter(printable(str(error)), param_hint=option) from None
    except ValueError as error:
        raise typer.BadParameter(f"{printable(text)!r} is not {error}", param_hint=option) from None


def _since(text: str, now: float) -> float:
    def parse(text: str) -> float:
        return parse_time(text) if "-" in text else now - parse_duration(text)

    at = _given("--since", text, parse)
    return at if at is not None else now


def _milliseconds(text: str) -> float:
    return parse_duration(text) * MILLISECONDS


def _interval(text: str) -> float:
    every_s = parse_duration(text)
    if every_s < SHORTEST_S:
        raise ValueError(f"at least {SHORTEST_S:g}s")
    return every_s


def _slugs(text: str) -> tuple[str, ...]:
    slugs = tuple(slug.strip() for slug in text.split(","))
    if not all(slugs):
        raise ValueError("a list of regions such as us-east-1,eu-west-2")
    return slugs


def _condition(text: str) -> str:
    region_where(text)
    return text
