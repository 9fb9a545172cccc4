"""`nexusd events`: the history, and with `--follow` the live stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import Annotated, Any

import typer

from nexusd.cli.daemon import AnsweredError, Daemon, DaemonError, listed, may_pass, part
from nexusd.cli.options import DEFAULT_URL, EVENT_TYPES, Format, Output, Token, Url, one_of
from nexusd.cli.output import note, on_terminal, print_json, show, to_json
from nexusd.cli.tables import print_table
from nexusd.cli.times import ago
from nexusd.core.errors import NexusdError
from nexusd.core.spelling import describe_unknown

PATH = "/api/v1/events"
DEFAULT_LIMIT = 100
MOST = 1_000
"""Events that the daemon gives at once."""
RETRY_S = 1.0
PATIENCE_S = 60.0
"""How long a daemon may be away (restarting) before following it is given up."""


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print events as they happen.")] = False,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="ID|TIME|DURATION",
            show_default=False,
            help="After this event's ID, or from this time on, e.g. 1h (ago).",
        ),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            show_default=False,
            autocompletion=one_of(*EVENT_TYPES),
            help="Event type to filter by; repeatable.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST, show_default=False, help="Maximum number of events; 100 without --follow."
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    output: Format = Output.TABLE,
) -> None:
    """Show event history, oldest first, or follow it live.

    Without --since: the newest events.
    """
    daemon, wanted = Daemon(url, token), _checked_types(types or ())
    if since is not None:
        since = ago(since, "--since")
    if follow:
        _print_as_they_come(_followed(daemon, since), wanted, limit, output)
        return
    answer = _history(daemon, since, limit or DEFAULT_LIMIT, wanted)
    if output is Output.JSON:
        print_json(answer)
        return
    headings = ("id", "at", "event", "subject", "detail")
    rows = [_cells(event) for event in listed(answer)]
    print_table(headings, rows, words=("subject", "detail"), optional=("id", "detail"))


def _checked_types(types: Sequence[str]) -> frozenset[str]:
    """Raise typer's usage error for an unknown type: a typo would match no event."""
    for kind in types:
        if kind not in EVENT_TYPES:
            problem = describe_unknown(kind, EVENT_TYPES, ", ".join(EVENT_TYPES))
            raise typer.BadParameter(problem, param_hint="--type")
    return frozenset(types)


def _print_as_they_come(
    happening: Iterator[dict[str, Any]], wanted: frozenset[str], limit: int | None, output: Output
) -> None:
    """One line each: JSON, or for people."""
    printed = 0
    for event in happening:
        if wanted and event.get("type") not in wanted:
            continue
        print(to_json(event) if output is Output.JSON else _line(event), flush=True)
        printed += 1
        if printed == limit:
            return


def _followed(daemon: Daemon, since: str | None) -> Iterator[dict[str, Any]]:
    """For ever. While the daemon is away it is asked again, from where it was.

    Raises `DaemonError` when it was never there, or stays away.
    """
    last: str | None = None
    away_since: float | None = None
    while True:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last is not None else {})
        try:
            for fields in _blocks(daemon.lines(PATH, {"since": since}, headers)):
                last, away_since = fields.get("id", last), None
                if "data" in fields:
                    yield _decoded(fields["data"])
        except (DaemonError, AnsweredError) as error:
            if last is None or not may_pass(error):
                raise
            if away_since is None:
                note("the daemon is away; trying again")
                away_since = monotonic()
            elif monotonic() - away_since > PATIENCE_S:
                raise
        sleep(RETRY_S)


def _blocks(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """The fields of each block of a stream of events; comments are dropped."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if not line:
            yield fields
            fields = {}
        elif name:
            fields[name] = value.removeprefix(" ")


def _decoded(data: str) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise NexusdError("the daemon sent an event that is not JSON")
    return event


def _history(daemon: Daemon, since: str | None, limit: int, wanted: frozenset[str]) -> Any:
    """The answer of the daemon, or one like it with only the types that are wanted."""
    if not wanted:
        return daemon.get(PATH, {"since": since, "limit": limit})
    if since is None:
        answer = daemon.get(PATH, {"limit": MOST})
        found = [event for event in listed(answer) if event.get("type") in wanted][-limit:]
        if len(found) < limit and len(listed(answer)) == MOST:
            note(f"of the newest {MOST} events; --since looks further back")
        return {**answer, "data": found}
    return _since(daemon, since, limit, wanted)


def _since(daemon: Daemon, since: str, limit: int, wanted: frozenset[str]) -> dict[str, Any]:
    """Page by page, until there are as many of the types as are wanted."""
    found: list[dict[str, Any]] = []
    answer = daemon.get(PATH, {"since": since, "limit": 1})
    begin = listed(answer)
    after = _number(begin[0]) - 1 if begin else None
    while after is not None and len(found) < limit:
        answer = daemon.get(PATH, {"since": after, "limit": MOST})
        page = listed(answer)
        found += [event for event in page if event.get("type") in wanted]
        after = _number(page[-1]) if len(page) == MOST else None
    return {**answer, "data": found[:limit]}


def _number(event: dict[str, Any]) -> int:
    found = event.get("id")
    if not isinstance(found, int):
        raise NexusdError("the daemon gave an event without an id")
    return found


def _line(event: dict[str, Any]) -> str:
    """On a terminal without the id, and in columns as far as the common ones reach."""
    cells = [show(cell) for cell in _cells(event)]
    if not on_terminal():
        return "  ".join(cells)
    _, at, kind, about, said = cells
    return f"{at}  {kind:<21}  {about}  {said}"


def _cells(event: dict[str, Any]) -> tuple[Any, ...]:
    subject, detail = part(event, "subject"), part(event, "detail")
    named = subject.get("id") if subject.get("kind") == "region" else subject.get("name") or subject.get("id")
    about = f"{subject.get('kind')} {named}"
    if subject.get("region") not in (None, subject.get("id")):
        about += f" in {subject['region']}"
    return event.get("id"), _at(event.get("at")), event.get("type"), about, _said(detail)


def _at(value: Any) -> Any:
    """On a terminal to the second, and without the date where it is today's (both UTC)."""
    if not on_terminal() or not isinstance(value, str):
        return value
    day, _, time = value.partition("T")
    second = time.partition(".")[0].removesuffix("Z")
    return second if day == datetime.now(UTC).date().isoformat() else f"{day} {second}"


def _said(detail: dict[str, Any]) -> str:
    """`queued → creating`, `status=running`; an alert's labels only where there is no summary of them."""
    rest = {key: value for key, value in detail.items() if value is not None}
    if rest.get("summary"):
        rest.pop("labels", None)
        return ", ".join([show(rest.pop("summary")), *_pairs(rest)])
    changed = [f"{show(rest.pop('from'))} → {show(rest.pop('to'))}"] if {"from", "to"} <= rest.keys() else []
    return ", ".join([*changed, *_pairs(rest)])


def _pairs(detail: dict[str, Any]) -> list[str]:
    return [f"{key}={show(value)}" for key, value in detail.items()]
