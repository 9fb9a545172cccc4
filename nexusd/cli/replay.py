"""`nexusd replay`: where placements would have gone under another policy, from what the daemon recorded."""

from __future__ import annotations

from typing import Annotated

import typer

from nexusd.cli.options import ConfigFile, Format, Output
from nexusd.cli.output import print_json


def replay(
    config: ConfigFile = None,
    store: Annotated[
        str | None, typer.Option(metavar="URL", show_default=False, help="The daemon's database (store.url).")
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="DURATION|TIME", help="From this long ago, or from this time on.")
    ] = "24h",
    until: Annotated[
        str | None,
        typer.Option(metavar="DURATION|TIME", help="Up to this long ago, or this time.", show_default="now"),
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
    from nexusd.cli.replay_asking import Given, asked
    from nexusd.cli.replay_report import as_json, print_report
    from nexusd.cli.replaying import make_report

    given = Given(
        since=since,
        until=until,
        smoothing=smoothing,
        switch_margin=switch_margin,
        max_per_region=max_per_region,
        regions=regions,
        avoid_regions=avoid_regions,
        where=where,
        every=every,
    )
    report = make_report(config, store, asked(given))
    print_json(as_json(report)) if output is Output.JSON else print_report(report, show_all=show_all)
