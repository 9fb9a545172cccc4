"""What a person at a terminal sees: the real process on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

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
    assert "5m3s ago" in shown
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
    daemon.on("GET", "/api/v1/placements/plc_01j", Answer(placement("running")))
    code, shown = on_a_terminal("place", "worker-01", "--plan", "pro", "--wait")
    assert code == 0
    assert "worker-01: queued" in shown
    assert "\x1b[?25l" in shown  # a spinner hides the cursor
    assert "inst_1" in shown
