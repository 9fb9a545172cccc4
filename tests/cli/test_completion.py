"""Shell completion: what is offered, what that costs, and that a real shell takes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nexusd.cli.options import INSTANCE_STATUSES as STATUSES
from nexusd.cli.options import PLACEMENT_STATES
from nexusd.core.lifecycle import State
from nexusd.web.metrics import INSTANCE_STATUSES
from tests.cli.test_command import HEAVY, nexusd

ROOT = Path(__file__).parent.parent.parent

OFFERED = [
    ("nexusd pla", ["place", "placements"]),
    ("nexusd place --dr", ["--dry-run"]),
    ("nexusd silence e", ["expire"]),
    ("nexusd place x --plan e", ["enterprise"]),
    ("nexusd alerts --state f", ["firing"]),
    ("nexusd status -o j", ["json"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("line", "offered"), OFFERED)
def test_a_shell_is_offered_what_may_follow(line: str, offered: list[str]) -> None:
    words = str(len(line.split()) - 1)
    ran = nexusd(_NEXUSD_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=words)
    assert ran.stdout.split() == offered


@pytest.mark.slow
def test_zsh_is_offered_the_help_beside_it() -> None:
    ran = nexusd(_NEXUSD_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="nexusd outbox ")
    assert '"replay":"Send a dead notification again' in ran.stdout


@pytest.mark.slow
def test_fish_is_offered_the_help_beside_it() -> None:
    action = {"_TYPER_COMPLETE_FISH_ACTION": "get-args", "_TYPER_COMPLETE_ARGS": "nexusd outbox "}
    ran = nexusd(_NEXUSD_COMPLETE="complete_fish", **action)
    assert "list\tList notifications, newest first." in ran.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_offered_for(shell: str) -> None:
    ran = nexusd("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert ran.returncode == 0
    assert f"_NEXUSD_COMPLETE=complete_{shell}" in ran.stdout


@pytest.mark.slow
def test_bash_completes_with_the_script_that_it_is_given() -> None:
    script = f"""
        nexusd() {{ {sys.executable} -m nexusd "$@"; }}
        eval "$(nexusd --show-completion bash | sed 's|\\$1|{sys.executable} -m nexusd|')"
        COMP_WORDS=(nexusd pla) COMP_CWORD=1
        _nexusd_completion nexusd
        printf '%s\\n' "${{COMPREPLY[@]}}"; complete -p nexusd
    """
    environ = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    ran = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, cwd=ROOT, env=environ, check=True
    )
    assert ran.stdout.split()[:2] == ["place", "placements"]
    assert "-F _nexusd_completion nexusd" in ran.stdout


def imported_by_completing(line: str) -> set[str]:
    """The names of the packages that completing the end of a line imports."""
    source = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})),"
        " file=sys.stderr))\n"
        "from nexusd import cli\n"
        "cli.main()"
    )
    environ = {
        **os.environ,
        "_NEXUSD_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }
    ran = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, cwd=ROOT, env=environ, check=False
    )
    assert ran.stdout, ran.stderr
    return set(json.loads(ran.stderr.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", ["nexusd p", *(f"nexusd {name} --" for name in ("place", "replay", "run", "demo", "simulate"))]
)
def test_completing_imports_none_of_the_daemons_parts(line: str) -> None:
    assert not imported_by_completing(line) & set(HEAVY)


def test_every_state_is_offered() -> None:
    assert set(PLACEMENT_STATES) == set(State)
    assert set(STATUSES) == set(INSTANCE_STATUSES)
