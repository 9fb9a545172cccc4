"""`nexusd alert test`: does a notification arrive?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nexusd.cli.daemon import Daemon, listed
from nexusd.cli.options import DEFAULT_URL, Format, Output, Token, Url
from nexusd.cli.output import print_json
from nexusd.cli.tables import print_table
from nexusd.core.errors import NexusdError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Send a test notification.")


class TestFailedError(NexusdError):
    """A test notification was not taken, or there is nobody to send one to."""


@app.callback()
def _alert() -> None:
    """Send a test notification."""


@app.command("test")
def send_test(
    receiver: Annotated[
        str | None, typer.Argument(metavar="[RECEIVER]", show_default=False, help="Only to this one.")
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """Send a notification that is marked as a test to each receiver, at once, and show each answer.

    Heartbeats are asked for once. Nothing is tried again.
    """
    body = {"receiver": receiver} if receiver is not None else {}
    answer = Daemon(url, token).post("/api/v1/alerts/test", body)
    rows = listed(answer)
    if output is Output.JSON:
        print_json(answer)
    elif rows:
        headings = ("receiver", "type", "delivered", "code", "ms", "error")
        print_table(
            headings, [_row(row) for row in rows], words=("error",), optional=("type", "code", "error")
        )
    failed = sum(not row.get("delivered") for row in rows)
    if not rows:
        raise TestFailedError("no receiver is configured")
    if failed:
        raise TestFailedError(f"{failed} of {len(rows)} failed")


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    seconds = row.get("duration_s")
    took_ms = round(seconds * 1000) if isinstance(seconds, int | float) else None
    return (
        row.get("receiver"),
        row.get("type"),
        row.get("delivered"),
        row.get("code"),
        took_ms,
        row.get("error"),
    )
