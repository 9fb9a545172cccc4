"""`nexusd silence`: create, list and expire silences."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from nexusd.cli.daemon import Daemon, segment
from nexusd.cli.lookup import silence_id
from nexusd.cli.matchers import parse_arguments
from nexusd.cli.options import DEFAULT_URL, Format, Output, Token, Url
from nexusd.cli.output import note, print_json, printable, show, when
from nexusd.cli.tables import print_table
from nexusd.cli.times import from_now, shifted, to_rfc3339
from nexusd.core.durations import parse_duration
from nexusd.core.matchers import Matcher, stored_matcher

PATH = "/api/v2/silences"
ONE = "/api/v2/silence"

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Create, list and expire silences.")


@app.command("add")
def add(
    matchers: Annotated[
        list[str],
        typer.Argument(
            metavar="MATCHER...",
            show_default=False,
            help="Matchers, which must all match, e.g. InstanceStopped 'name=~web-.*'. "
            "A first word without an operator is an alert's name.",
        ),
    ],
    comment: Annotated[str, typer.Option("--comment", "-c", show_default=False, help="Reason.")],
    duration: Annotated[str, typer.Option("--duration", "-d", metavar="DURATION", help="Length.")] = "1h",
    start: Annotated[
        str | None,
        typer.Option(metavar="TIME|DURATION", help="Start, e.g. 30m (from now).", show_default="now"),
    ] = None,
    author: Annotated[
        str | None, typer.Option("--author", "-a", help="Author.", show_default="the login name")
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """Silence matching alerts for a limited time, and print the silence's ID."""
    now = datetime.now(UTC)
    starts_at = from_now(start, "--start", now) if start is not None else now
    ends_at = shifted(starts_at, _seconds(duration), duration, "--duration")
    body = {
        "matchers": [_parts(matcher) for matcher in parse_arguments(matchers)],
        "startsAt": to_rfc3339(starts_at),
        "endsAt": to_rfc3339(ends_at),
        "createdBy": author if author is not None else _login(),
        "comment": comment,
    }
    made = Daemon(url, token).post(PATH, body)
    if output is Output.JSON:
        print_json(made)
        return
    print(show(made.get("silenceID")))
    note(f"until {body['endsAt']}" if start is None else f"from {body['startsAt']} until {body['endsAt']}")


@app.command("list")
def list_(
    expired: Annotated[bool, typer.Option("--expired", help="Include expired silences.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """List active and pending silences."""
    answer = Daemon(url, token).rows(PATH)
    found = [s for s in answer if expired or _state(s) != "expired"]
    if output is Output.JSON:
        print_json(found)
        return
    print_table(
        ("id", "state", "matchers", "from", "until", "by", "comment"),
        [_row(silence) for silence in found],
        words=("matchers", "comment"),
        optional=("from", "by", "state", "comment"),
    )


@app.command("expire")
def expire(
    silence_ids: Annotated[
        list[str],
        typer.Argument(metavar="ID...", show_default=False, help="Silence IDs, or their beginnings."),
    ],
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """Expire silences now."""
    daemon = Daemon(url, token)
    found = [silence_id(daemon, text) for text in silence_ids]
    for each in found:
        daemon.delete(f"{ONE}/{segment(each)}")
        if output is Output.TABLE:
            print(f"{printable(each)} is expired")
    if output is Output.JSON:
        print_json([{"silenceID": each} for each in found])


def _parts(found: Matcher) -> dict[str, Any]:
    return {
        "name": found.name,
        "value": found.value,
        "isRegex": found.operator in ("=~", "!~"),
        "isEqual": found.operator in ("=", "=~"),
    }


def _seconds(duration: str) -> float:
    try:
        return parse_duration(duration)
    except ValueError as error:
        raise typer.BadParameter(f"{printable(duration)!r} is not {error}", param_hint="--duration") from None


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "nexusd-cli"


def _state(silence: dict[str, Any]) -> Any:
    return (silence.get("status") or {}).get("state")


def _row(silence: dict[str, Any]) -> tuple[Any, ...]:
    return (
        silence.get("id"),
        _state(silence),
        ", ".join(_text(m) for m in silence.get("matchers") or []),
        when(silence.get("startsAt")),
        when(silence.get("endsAt")),
        silence.get("createdBy"),
        silence.get("comment"),
    )


def _text(parts: dict[str, Any]) -> str:
    regex, equal = parts.get("isRegex"), parts.get("isEqual", True)
    operator = ("=~" if equal else "!~") if regex else ("=" if equal else "!=")
    return str(stored_matcher(str(parts.get("name")), operator, str(parts.get("value"))))
