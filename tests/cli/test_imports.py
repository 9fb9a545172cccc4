"""What a command line imports: help and the clients of a running daemon do without the daemon's parts.

That is what keeps them quick (performance.md, G8); how quick they are is measured by `benchmarks/`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from nexusd.cli import CLIENT, COMMANDS

ROOT = Path(__file__).parent.parent.parent
DAEMONS_PARTS = {
    "aiohttp",
    "alembic",
    "apscheduler",
    "asyncio",
    "cel",
    "msgspec",
    "prometheus_client",
    "pydantic_settings",
    "sqlalchemy",
    "sqlite3",
    "structlog",
    "uvloop",
    "yaml",
}
NOBODY = ("--url", "http://127.0.0.1:1")
CLIENTS = {
    "status": ["status"],
    "regions": ["regions"],
    "instances": ["instances"],
    "fleets": ["fleets"],
    "place": ["place", "web-1", "--plan", "pro"],
    "placements": ["placements"],
    "explain": ["explain", "plc_1"],
    "cancel": ["cancel", "plc_1"],
    "resolve": ["resolve", "plc_1", "--absent"],
    "alert": ["alert", "test"],
    "outbox": ["outbox", "list"],
    "alerts": ["alerts"],
    "silence": ["silence", "list"],
    "events": ["events"],
    "metrics": ["metrics"],
}
_IN_ONE_PROCESS = """
import json, sys
from nexusd import cli
parts, lines = json.load(sys.stdin)
found = {}
for name, line in lines.items():
    code = cli.invoke(line)
    imported = sorted(set(parts) & {module.partition(".")[0] for module in sys.modules})
    found[name] = [code, imported]
print("found:", json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[int, list[str]]]:
    """Of each line its exit code, and which of the parts had been imported after it and those before."""
    lines = {"--help": ["--help"], **{name: [*line, *NOBODY] for name, line in CLIENTS.items()}}
    ran = subprocess.run(
        [sys.executable, "-c", _IN_ONE_PROCESS],
        input=json.dumps([sorted(DAEMONS_PARTS), lines]),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    read: dict[str, tuple[int, list[str]]] = json.loads(ran.stdout.rpartition("found:")[2])
    return read


def test_every_client_command_is_looked_at() -> None:
    assert {name for name, entry in COMMANDS.items() if entry.panel == CLIENT} == set(CLIENTS)


def test_help_imports_none_of_the_daemons_parts(found: dict[str, tuple[int, list[str]]]) -> None:
    assert found["--help"] == [0, []]


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_imports_none_of_the_daemons_parts(
    found: dict[str, tuple[int, list[str]]], name: str
) -> None:
    """It got as far as asking: 1 is what a daemon that is not there comes to."""
    assert found[name] == [1, []]


def test_the_parts_are_there_to_be_imported() -> None:
    """So that none is misspelt here."""
    assert [name for name in sorted(DAEMONS_PARTS) if find_spec(name) is None] == []
