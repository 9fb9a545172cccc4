"""`nexusd outbox`: what was notified, what waits, what is dead; and trying the dead again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nexusd.cli.daemon import Daemon, listed, meta_total, segment
from nexusd.cli.lookup import dead_message_id
from nexusd.cli.options import DEFAULT_URL, MESSAGE_STATES, Format, Output, Token, Url, one_of
from nexusd.cli.output import note, print_json, show, when
from nexusd.cli.tables import print_table

PATH = "/api/v1/outbox"

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="List notifications, and replay dead ones."
)


@app.command("list")
def list_(
    state: Annotated[
        str | None,
        typer.Option(
            show_default=False,
            autocompletion=one_of(*MESSAGE_STATES),
            help="State to filter by: pending, sent or dead.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Maximum number of rows; 0 is all.")] = 100,
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """List notifications, newest first."""
    answer = Daemon(url, token).pages(PATH, {"state": state}, limit)
    if output is Output.JSON:
        print_json(answer)
        return
    rows = listed(answer)
    headings = (
        "id",
        "receiver",
        "state",
        "says",
        "about",
        "tries",
        "created",
        "next try",
        "last error",
    )
    print_table(
        headings,
        [_row(row) for row in rows],
        words=("about", "last error"),
        optional=("about", "tries", "created", "next try", "last error"),
    )
    if len(rows) < meta_total(answer):
        note(f"{len(rows)} of {meta_total(answer)} shown; --limit 0 shows all")


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    alerts = row.get("alerts")
    says = (
        f"{show(row.get('status'))} ({alerts})"
        if isinstance(alerts, int) and alerts > 1
        else row.get("status")
    )
    about = str(row.get("group_key") or "").rpartition("}:")[2]
    times = when(row.get("created_at")), when(row.get("next_try_at"))
    named = row.get("id"), row.get("receiver"), row.get("state")
    return *named, says, about, row.get("tries"), *times, row.get("last_error")


@app.command()
def replay(
    message_id: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", show_default=False, help="Message ID, or its beginning."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Replay every dead message.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """Send a dead notification again, or all of them, under the same ID."""
    if (message_id is None) is not every:
        raise typer.BadParameter("either an id or --all is needed", param_hint="ID, --all")
    if message_id is None:
        answer = Daemon(url, token).post(f"{PATH}/replay", {})
        said = f"{show(answer.get('replayed'))} replayed"
    else:
        daemon = Daemon(url, token)
        answer = daemon.post(f"{PATH}/{segment(dead_message_id(daemon, message_id))}/replay", {})
        said = f"{show(answer.get('id'))} is {show(answer.get('state'))} again"
    if output is Output.JSON:
        print_json(answer)
    else:
        print(said)
