"""`nexusd silence`: who is not to be told of what, and how long."""

from __future__ import annotations

import getpass
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from nexusd.cli.daemon import Daemon, segment
from nexusd.cli.options import DEFAULT_URL, Format, Output, Token, Url
from nexusd.cli.output import note, print_json, printable, show, when
from nexusd.cli.tables import print_table
from nexusd.core.durations import parse_duration
from nexusd.core.errors import InputError
from nexusd.core.matchers import Matcher, matcher, parse_matchers

PATH = "/api/v2/silences"
ONE = "/api/v2/silence"

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Tell nobody of some alerts for a while.")


@app.command("add")
def add(
    matchers: Annotated[
        list[str],
        typer.Argument(
            metavar="MATCHER...",
            show_default=False,
            help="What to silence; all must match: 'alertname=InstanceStopped' 'name=~web-.*'. "
            "A first word alone is an alert's name.",
        ),
    ],
    comment: Annotated[str, typer.Option("--comment", "-c", show_default=False, help="Why.")],
    duration: Annotated[str, typer.Option("--duration", "-d", metavar="DURATION", help="How long.")] = "1h",
    author: Annotated[
        str | None, typer.Option("--author", "-a", help="Who silences.", show_default="the login name")
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """Silence alerts from now on, and print the silence's id."""
    now = datetime.now(UTC)
    body = {
        "matchers": [
            parts for number, text in enumerate(matchers) for parts in _matchers(text, first=number == 0)
        ],
        "startsAt": _written(now),
        "endsAt": _written(_after(now, duration)),
        "createdBy": author if author is not None else _login(),
        "comment": comment,
    }
    made = Daemon(url, token).post(PATH, body)
    if output is Output.JSON:
        print_json(made)
        return
    print(show(made.get("silenceID")))
    note(f"until {body['endsAt']}")


@app.command("list")
def list_(
    expired: Annotated[bool, typer.Option("--expired", help="Those that are over, too.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """Silences: the active, then those to come."""
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
    silence_ids: Annotated[list[str], typer.Argument(metavar="ID...", show_default=False)],
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """End silences now."""
    daemon = Daemon(url, token)
    for silence_id in silence_ids:
        daemon.delete(f"{ONE}/{segment(silence_id)}")
        if output is Output.TABLE:
            print(f"{printable(silence_id)} is expired")
    if output is Output.JSON:
        print_json([{"silenceID": silence_id} for silence_id in silence_ids])


def _matchers(text: str, *, first: bool) -> list[dict[str, Any]]:
    """Build Alertmanager's `matchers`. Raises typer's usage error."""
    name_alone = first and not re.search("[={]|!~", text)
    try:
        found = (matcher("alertname", "=", text),) if name_alone else parse_matchers(text)
    except InputError as error:
        raise typer.BadParameter(printable(str(error)), param_hint="MATCHER") from None
    return [_parts(each) for each in found]


def _parts(found: Matcher) -> dict[str, Any]:
    return {
        "name": found.name,
        "value": found.value,
        "isRegex": found.operator in ("=~", "!~"),
        "isEqual": found.operator in ("=", "=~"),
    }


def _after(now: datetime, duration: str) -> datetime:
    try:
        return now + timedelta(seconds=parse_duration(duration))
    except ValueError as error:
        raise typer.BadParameter(f"{printable(duration)!r} is not {error}", param_hint="--duration") from None
    except OverflowError:
        raise typer.BadParameter(f"{printable(duration)} is too long", param_hint="--duration") from None


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
    return f'{parts.get("name")}{operator}"{parts.get("value")}"'
