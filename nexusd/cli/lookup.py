"""Finds objects by ID, by its unique beginning, or by a placement's name.

A whole ID is used as it is, without a request. An argument that matches several is an error that lists them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import typer

from nexusd.cli.daemon import Daemon, listed, meta_total
from nexusd.cli.output import printable, show
from nexusd.core.errors import NexusdError

PLACEMENTS, OUTBOX, SILENCES = "/api/v1/placements", "/api/v1/outbox", "/api/v2/silences"
MAX_LISTED = 10
_ULID = re.compile(r"(plc|msg)_[0-9a-hjkmnp-tv-z]{26}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_CLOSED = frozenset({"running", "failed", "cancelled", "expired"})


class NoMatchError(NexusdError):
    """Nothing has this name or ID."""


def placement_id(daemon: Daemon, text: str) -> str:
    """Return the ID of a placement. Of several with the name, the open one is meant.

    Raises `NoMatchError`, and typer's usage error for an ambiguous argument.
    """
    if _ULID.fullmatch(text):
        return text
    rows, total = _matching(daemon, PLACEMENTS, text, {})
    named = [row for row in rows if row.get("name") == text]
    is_open = [row for row in named if row.get("state") not in _CLOSED]
    beginning = [row for row in rows if str(row.get("id")).startswith(text)]
    found = is_open if len(is_open) == 1 else named or beginning
    return _only("placement", text, found, total, ("name", "state", "created_at"))


def dead_message_id(daemon: Daemon, text: str) -> str:
    """Return the ID of a dead message. Raises as `placement_id` does."""
    if _ULID.fullmatch(text):
        return text
    rows, total = _matching(daemon, OUTBOX, text, {"state": "dead"})
    found = [row for row in rows if str(row.get("id")).startswith(text)]
    return _only("dead message", text, found, total, ("receiver", "created_at"))


def silence_id(daemon: Daemon, text: str) -> str:
    """Return the ID of a silence that is not expired. Raises as `placement_id` does."""
    if _UUID.fullmatch(text):
        return text
    rows = daemon.rows(SILENCES) if text else []
    found = [row for row in rows if str(row.get("id")).startswith(text) and not _is_expired(row)]
    return _only("active or pending silence", text, found, len(found), ("comment", "createdBy"))


def _matching(
    daemon: Daemon, path: str, text: str, query: dict[str, str]
) -> tuple[list[dict[str, Any]], int]:
    if not text:
        return [], 0
    answer = daemon.get(path, {"match": text, "limit": 100, **query})
    return listed(answer), meta_total(answer)


def _is_expired(silence: dict[str, Any]) -> bool:
    return (silence.get("status") or {}).get("state") == "expired"


def _only(kind: str, text: str, rows: list[dict[str, Any]], total: int, shown: Sequence[str]) -> str:
    if not rows:
        raise NoMatchError(f"no {kind} has the ID or name {printable(text)!r}")
    if len(rows) == 1:
        return str(rows[0]["id"])
    candidates = [f"{row.get('id')} ({', '.join(show(row.get(key)) for key in shown)})" for row in rows]
    count = max(total, len(rows))
    more = f", and {count - MAX_LISTED} more" if count > MAX_LISTED else ""
    raise typer.BadParameter(
        f"{printable(text)!r} matches {count} {kind}s: {', '.join(candidates[:MAX_LISTED])}{more}; "
        "give more of the ID",
        param_hint="ID",
    )
