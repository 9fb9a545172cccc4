"""What a person at a terminal sees: the real process on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

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


def on_a_terminal(*arguments: str) -> tuple[int, str]:
    """The exit code, and all that was written to the terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "nexusd", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"},
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


def test_markup_in_a_name_is_text(daemon: FakeDaemon) -> None:
    row = {"id": "i", "name": "[red]x[/red][link=http://evil]", "status": "running", "region": "r"}
    daemon.on("GET", "/api/v1/instances", Answer(page([row])))
    _, shown = on_a_terminal("instances")
    assert "[red]x[/red][link=http://evil]" in shown


def test_waiting_shows_live_progress(daemon: FakeDaemon) -> None:
    daemon.on("POST", "/api/v1/placements", Answer(placement(), 202))
    daemon.on("GET", "/api/v1/placements/plc_01j", Answer(placement("running")))
    code, shown = on_a_terminal("place", "worker-01", "--plan", "pro", "--wait")
    assert code == 0
    assert "worker-01: queued" in shown
    assert "\x1b[?25l" in shown  # a spinner hides the cursor
    assert "inst_1" in shown
