"""What a person at a terminal sees: the real process on a pseudo-terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import termios
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nexusd import cli
from tests.cli.daemon import Answer, FakeDaemon, page, placement

ROOT = Path(__file__).parent.parent.parent
REGION = {
    "slug": "us-east-1",
    "name": "evil\x1b[2Jname",
    "status": "healthy",
    "latency_ms": 12.0,
    "capacity": True,
    "eligible": True,
    "reasons": [],
    "instances": 1,
}


def on_a_terminal(*arguments: str, rows: int = 50, columns: int = 200, **environ: str) -> tuple[int, str]:
    """The exit code, and all that was written to the terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (rows, columns))
    inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "nexusd", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env={**inherited, "TERM": "xterm-256color", **environ},
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # what Linux says when the other end is closed
            break
        if not part:
            break
        written += part
    os.close(ours)
    return process.wait(10), written.decode()


def test_a_table_has_colours_and_escapes_what_would_steer_the_terminal(daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/v1/regions", Answer({"regions": [REGION], "observed_at": None}))
    code, shown = on_a_terminal("regions")
    assert code == 0
    assert "\x1b[32mhealthy" in shown
    assert "\x1b[2J" not in shown
    assert "evil\\x1b[2Jname" in shown


EVIL = "e\x1b]0;t\x07v\x9b2J\u202el\x7f"
"""Control sequences of one and two bytes, a right-to-left override, and DEL."""

HOSTILE = {
    "regions": ("/api/v1/regions", {"regions": [REGION | {"name": EVIL}], "observed_at": EVIL}),
    "instances": (
        "/api/v1/instances",
        page([{"id": EVIL, "name": EVIL, "status": EVIL, "created_at": EVIL}]),
    ),
    "fleets": ("/api/v1/fleets", page([{"name": EVIL, "by_region": {EVIL: 1}, "warnings": [EVIL]}])),
    "placements": ("/api/v1/placements", page([{"id": EVIL, "name": EVIL, "reason": EVIL}])),
    "alerts": ("/api/v1/alerts", page([{"labels": {EVIL: EVIL}, "annotations": {"summary": EVIL}}])),
    "outbox list": ("/api/v1/outbox", page([{"id": EVIL, "last_error": EVIL, "group_key": EVIL}])),
    "silence list": ("/api/v2/silences", [{"id": EVIL, "comment": EVIL, "createdBy": EVIL}]),
    "events": (
        "/api/v1/events",
        page([{"id": 1, "type": EVIL, "subject": {"name": EVIL}, "detail": {EVIL: 1}}]),
    ),
    "explain x": ("/api/v1/placements/x", placement(id=EVIL, reason=EVIL, decisions=[{"reason": EVIL}])),
}


class Terminal(io.StringIO):
    """Output that claims to be a terminal.

    It is quicker than a process on a pseudo-terminal.
    """

    def isatty(self) -> bool:
        return True


def in_this_process(*arguments: str) -> tuple[int, str]:
    """Return the exit code, and the text on standard output and standard error."""
    terminal = Terminal()
    with redirect_stdout(terminal), redirect_stderr(terminal):
        code = cli.invoke(list(arguments))
    return code, terminal.getvalue()


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.parametrize("command", HOSTILE)
def test_no_foreign_text_controls_the_terminal(daemon: FakeDaemon, command: str, output: str) -> None:
    path, content = HOSTILE[command]
    daemon.on("GET", path, Answer(content))
    _, shown = in_this_process(*command.split(), "-o", output)
    assert_harmless(shown)


@pytest.mark.parametrize("output", ["table", "json"])
def test_no_name_in_metrics_controls_the_terminal(daemon: FakeDaemon, output: str) -> None:
    text = f'# TYPE nexusd_a gauge\nnexusd_a{{region="{EVIL}"}} 1.0\nnexusd_a{{region="b"}} 2.0\n'
    daemon.on("GET", "/metrics", Answer(raw=text.encode()))
    code, shown = in_this_process("metrics", "-o", output)
    assert code == 0
    assert_harmless(shown)
    assert output == "json" or 'region="b"} 2.0\n' in shown


def test_no_error_controls_the_terminal(daemon: FakeDaemon) -> None:
    daemon.on(
        "GET", "/api/v1/regions", Answer({"error": {"code": EVIL, "message": EVIL, "details": EVIL}}, 409)
    )
    for arguments in (["regions"], [EVIL], ["config", "check", "--config", EVIL]):
        code, shown = in_this_process(*arguments)
        assert code != 0
        assert_harmless(shown)


def assert_harmless(shown: str) -> None:
    """Only colours and line breaks are left of all control characters."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert plain.strip()
    assert [c for c in plain if not c.isprintable() and c not in "\r\n"] == []


def test_no_color_is_honoured(daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/v1/regions", Answer({"regions": [REGION], "observed_at": None}))
    _, shown = on_a_terminal("regions", NO_COLOR="1")
    assert "healthy" in shown
    assert "\x1b[3" not in shown


ID = "inst_0123456789"
PLACED = {
    "id": "plc_01m8bs6a1bfg5vpqgf9q108zka",
    "name": "worker-01",
    "plan": "pro",
    "state": "running",
    "region": "eu-central-1",
    "instance_id": ID,
}


def ago(**passed: float) -> str:
    return (datetime.now(UTC) - timedelta(**passed)).isoformat()


def test_what_is_copied_stays_whole_on_a_narrow_terminal(daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/v1/placements", Answer(page([PLACED | {"created_at": ago(minutes=5, seconds=3)}])))
    _, shown = on_a_terminal("placements", columns=80)
    assert PLACED["id"] in shown
    assert "eu-central-1" in shown
    assert re.search(r"5m[3-9]s ago", shown)
    assert ID not in shown
    assert "no room for plan, instance id; -o json has everything" in shown
    assert "reason" not in shown  # there is none


def test_a_wide_terminal_shows_every_column_that_has_something(daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/v1/placements", Answer(page([PLACED | {"reason": "because"}])))
    _, shown = on_a_terminal("placements", columns=160)
    assert ID in shown
    assert "because" in shown
    assert "no room" not in shown


def test_words_are_wrapped_and_nothing_is_cut(daemon: FakeDaemon) -> None:
    reasons = [f"reason{n:02}" for n in range(20)]
    daemon.on("GET", "/api/v1/regions", Answer({"regions": [REGION | {"reasons": reasons}]}))
    _, shown = on_a_terminal("regions", columns=80)
    assert all(reason in shown for reason in reasons)


def test_a_name_wider_than_the_terminal_is_folded(daemon: FakeDaemon) -> None:
    row = {"id": "i", "name": "n" * 300, "status": "running", "region": "r"}
    daemon.on("GET", "/api/v1/instances", Answer(page([row])))
    _, shown = on_a_terminal("instances", columns=40)
    assert shown.count("n" * 9) * 9 >= 270


def test_an_empty_table_says_so(daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/v1/instances", Answer(page([])))
    _, shown = on_a_terminal("instances")
    assert "none" in shown.splitlines()


def test_markup_in_a_name_is_text(daemon: FakeDaemon) -> None:
    row = {"id": "i", "name": "[red]x[/red][link=http://evil]", "status": "running", "region": "r"}
    daemon.on("GET", "/api/v1/instances", Answer(page([row])))
    _, shown = on_a_terminal("instances")
    assert "[red]x[/red][link=http://evil]" in shown


@pytest.mark.slow
def test_waiting_shows_live_progress(daemon: FakeDaemon) -> None:
    daemon.on("POST", "/api/v1/placements", Answer(placement(), 202))
    daemon.on("GET", "/api/v1/placements/plc_01j00000000000000000000000", Answer(placement("running")))
    code, shown = on_a_terminal("place", "worker-01", "--plan", "pro", "--wait")
    assert code == 0
    assert "worker-01: queued" in shown
    assert "\x1b[?25l" in shown  # a spinner hides the cursor
    assert "inst_1" in shown
