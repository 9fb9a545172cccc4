"""`nexusd alerts`: firing and pending alerts, and what mutes them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nexusd.cli.daemon import Daemon, listed, meta_total
from nexusd.cli.matchers import parse_arguments
from nexusd.cli.options import ALERT_STATES, DEFAULT_URL, Format, Output, Token, Url, one_of
from nexusd.cli.output import note, print_json, when
from nexusd.cli.tables import print_table

_SHOWN = ("alertname", "severity")


def alerts(
    matchers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MATCHER]...",
            show_default=False,
            help="Matchers, which must all match, e.g. InstanceStopped 'region=~eu-.*'. "
            "A first word without an operator is an alert's name.",
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            show_default=False,
            autocompletion=one_of(*ALERT_STATES),
            help="State to filter by: pending, firing, suppressed (firing and muted) or resolved.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Maximum number of rows; 0 is all.")] = 100,
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """List firing and pending alerts, most severe first."""
    filters = [str(matcher) for matcher in parse_arguments(matchers or ())]
    query = {"state": state, "filter": filters or None}
    answer = Daemon(url, token).pages("/api/v1/alerts", query, limit)
    if output is Output.JSON:
        print_json(answer)
        return
    rows = listed(answer)
    print_table(
        ("alert", "severity", "state", "about", "summary", "since", "not told"),
        [_row(row) for row in rows],
        words=("about", "summary", "not told"),
        optional=("about", "not told"),
    )
    if len(rows) < meta_total(answer):
        note(f"{len(rows)} of {meta_total(answer)} shown; --limit 0 shows all")


def _row(alert: dict[str, Any]) -> tuple[Any, ...]:
    labels, annotations = alert.get("labels") or {}, alert.get("annotations") or {}
    about = ", ".join(f"{key}={value}" for key, value in labels.items() if key not in _SHOWN)
    return (
        labels.get("alertname"),
        labels.get("severity"),
        alert.get("state"),
        about,
        annotations.get("summary"),
        when(alert.get("resolved_at") or alert.get("fired_at") or alert.get("active_at")),
        _not_told(alert),
    )


def _not_told(alert: dict[str, Any]) -> str:
    inhibited = [f"inhibited by {name}" for name in alert.get("inhibited_by_names") or []]
    silenced = [f"silenced by {silence_id}" for silence_id in alert.get("silenced_by") or []]
    return ", ".join([*inhibited, *silenced])
