"""Follows one placement until it is closed (`place --wait`): live on a terminal, else a line a change."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

from nexusd.cli.daemon import AnsweredError, Daemon, DaemonError, may_pass, segment
from nexusd.cli.output import note, show
from nexusd.core.errors import NexusdError

POLL_S = 0.5
PATIENCE_S = 60.0
"""How long a daemon may be away (restarting) before waiting for it is given up."""

CLOSED = frozenset({"running", "failed", "cancelled", "expired"})


class WaitEndedError(NexusdError):
    """It was not closed in time. It goes on without us."""


def follow(
    daemon: Daemon, placement: dict[str, Any], limit_s: float | None, *, quiet: bool
) -> dict[str, Any]:
    """The placement once it is closed. `limit_s` None: however long it takes.

    Raises `WaitEndedError` past the limit, and `DaemonError` or `AnsweredError` when the daemon or its store
    stays away.
    """
    until = monotonic() + limit_s if limit_s is not None else None
    placement_id = str(placement.get("id"))
    try:
        with _progress(quiet=quiet) as report:
            return _until_closed(daemon, placement, until, report)
    except KeyboardInterrupt:
        note(f"the placement goes on: nexusd placements {placement_id}")
        raise


def _until_closed(
    daemon: Daemon, placement: dict[str, Any], until: float | None, report: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    path = f"/api/v1/placements/{segment(str(placement.get('id')))}"
    away_since: float | None = None
    while True:
        report(placement)
        if placement.get("state") in CLOSED:
            return placement
        now = monotonic()
        if until is not None and now >= until:
            state = show(placement.get("state"))
            raise WaitEndedError(f"still {state}; it goes on: nexusd placements {placement.get('id')}")
        sleep(POLL_S if until is None else max(0.0, min(POLL_S, until - now)))
        try:
            placement, away_since = daemon.get(path), None
        except (DaemonError, AnsweredError) as error:
            if not may_pass(error):
                raise
            away_since = away_since if away_since is not None else now
            if now - away_since > PATIENCE_S:
                raise


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What is called with each state seen. `quiet`: nothing is shown, stdout is for JSON."""
    if quiet:
        yield lambda _placement: None
    elif sys.stdout.isatty():
        with _live() as report:
            yield report
    else:
        yield _Lines()


@contextmanager
def _live() -> Iterator[Callable[[dict[str, Any]], None]]:
    from rich.console import Console
    from rich.text import Text

    with Console().status("") as status:
        began = monotonic()

        def report(placement: dict[str, Any]) -> None:
            status.update(Text(f"{sentence(placement)}  {monotonic() - began:.0f} s"))

        yield report


class _Lines:
    """Prints a line when what there is to say has changed."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, placement: dict[str, Any]) -> None:
        said = sentence(placement)
        if said != self._said:
            self._said = said
            print(said, flush=True)


def sentence(placement: dict[str, Any]) -> str:
    """`worker-01: creating in us-east-1`."""
    text = f"{show(placement.get('name'))}: {show(placement.get('state'))}"
    if placement.get("region"):
        text += f" in {show(placement['region'])}"
    if placement.get("reason"):
        text += f" ({show(placement['reason'])})"
    return text
