"""How a command ends where its output cannot go, or its encoding cannot say it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.daemon import Answer, FakeDaemon, page

ROOT = Path(__file__).parent.parent.parent
NEXUSD = f"{sys.executable} -m nexusd"


def shell(command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**environment, **environ},
        check=False,
    )


@pytest.fixture
def _many(daemon: FakeDaemon) -> None:
    rows = [{"id": f"inst_{n}", "name": "ã", "status": "running", "region": "r"} for n in range(100)]
    daemon.on("GET", "/api/v1/instances", Answer(page(rows * 50)))
    daemon.on("GET", "/metrics", Answer(raw=b"nexusd_leader 1\n" * 100_000))


@pytest.mark.slow
@pytest.mark.usefixtures("_many")
@pytest.mark.parametrize("arguments", ["instances --limit 0", "instances --limit 0 -o json", "metrics"])
def test_a_reader_that_has_seen_enough_ends_it_quietly(arguments: str) -> None:
    ran = shell(f"{NEXUSD} {arguments} | head -c 10")
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.usefixtures("_many")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", ["instances", "instances -o json", "--version"])
def test_a_full_disk_is_one_line(arguments: str) -> None:
    ran = shell(f"{NEXUSD} {arguments} > /dev/full")
    assert (ran.returncode, ran.stderr) == (1, "nexusd: cannot write: No space left on device\n")


@pytest.mark.usefixtures("_many")
def test_a_closed_output_is_no_traceback() -> None:
    ran = shell(f"{NEXUSD} instances >&-")
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.usefixtures("_many")
def test_what_an_encoding_cannot_say_is_escaped() -> None:
    ran = shell(f"{NEXUSD} instances", PYTHONIOENCODING="ascii")
    assert ran.returncode == 0
    assert "\\xe3" in ran.stdout


LINES = ["--help", "regions -o json", "explain plc_x", "config schema", "nonsense"]
PLACES = ["", ">&-", "2>&-", "<&- >&- 2>&-", "> /dev/full", "2> /dev/full", "> /dev/full 2>&1", "| head -c 0"]
ENVIRONMENTS = [
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "utf-16"},
    {"HOME": "/nonexistent"},
    {"TMPDIR": "/nonexistent"},
    {"COLUMNS": "x", "TERM": "bogus"},
]


@pytest.mark.slow
@pytest.mark.usefixtures("_many")
@pytest.mark.parametrize("line", LINES)
def test_no_command_ends_in_a_traceback(line: str) -> None:
    places = [(place, environ) for place in PLACES for environ in ({}, {"PYTHONUNBUFFERED": "1"})]
    for place, environ in [*places, *(("", each) for each in ENVIRONMENTS)]:
        ran = shell(f"{NEXUSD} {line} {place}", **environ)
        assert ran.returncode in (0, 1, 2), (place, environ, ran)
        assert "Traceback" not in ran.stdout + ran.stderr, (place, environ, ran)
        assert "Exception ignored" not in ran.stderr, (place, environ, ran)
