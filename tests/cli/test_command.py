"""The command itself: what it lists, what it costs, how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from nexusd import __version__, cli
from nexusd.cli import following
from nexusd.core.errors import ConfigError, InputError, StartError
from tests.cli.conftest import Run
from tests.cli.daemon import Answer, FakeDaemon, placement

HEAVY = ("aiohttp", "sqlalchemy", "pydantic_settings", "apscheduler", "structlog", "prometheus_client", "cel")
ROOT = Path(__file__).parent.parent.parent


def nexusd(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The real process."""
    return subprocess.run(
        [sys.executable, "-m", "nexusd", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environ},
        check=False,
    )


def imported_by(*arguments: str) -> set[str]:
    """The names of the modules that one command line imports."""
    source = (
        "import sys\nfrom nexusd import cli\n"
        f"cli.invoke({list(arguments)!r})\n"
        "print('|'.join(m.partition('.')[0] for m in sys.modules), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(ran.stderr.splitlines()[-1].split("|"))


@pytest.mark.parametrize(
    "arguments",
    ["--version", "place --help"],  # what they do when run: test_imports.py
)
def test_a_client_does_not_import_the_daemons_parts(arguments: str) -> None:
    assert not imported_by(*arguments.split()) & set(HEAVY)


def test_help_imports_no_command() -> None:
    source = (
        "import sys\nfrom nexusd import cli\ncli.invoke(['--help'])\n"
        "print(*(m for m in sys.modules if m.startswith('nexusd.cli.')), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=ROOT, check=True)
    assert ran.stderr.split() == ["nexusd.cli.lazy"]


def test_help_lists_every_command_with_its_line(run: Run) -> None:
    out = run("--help").out
    for name, entry in cli.COMMANDS.items():
        assert name in out
        assert entry.help in out


@pytest.mark.parametrize("name", [n for n in cli.COMMANDS if n not in ("demo", "emulate")])
def test_every_command_has_help_of_its_own(run: Run, name: str) -> None:
    ran = run(name, "--help")
    assert ran.code == 0
    assert f"nexusd {name}" in ran.out


def test_version_is_printed(run: Run) -> None:
    assert run("--version") == (0, f"nexusd {__version__}\n", "")


def test_nothing_asked_shows_the_help_and_exits_2(run: Run) -> None:
    ran = run()
    assert ran.code == 2
    assert ran.out.count("Usage:") == 1


def test_an_unknown_command_names_the_nearest(run: Run) -> None:
    ran = run("statsu")
    assert ran.code == 2
    assert "Did you mean 'status'?" in ran.err
    assert ran.err.count("\n") == 1


def test_a_value_that_is_none_of_those_offered_exits_2_with_one_line(run: Run) -> None:
    ran = run("status", "-o", "yaml")
    said = "Invalid value for '--output' / '-o': 'yaml' is not one of 'table', 'json'"
    assert ran == (2, "", f"nexusd: {said} (see 'nexusd status --help')\n")


def test_an_unknown_option_exits_2_with_one_line(run: Run) -> None:
    ran = run("status", "--frob")
    assert ran == (2, "", "nexusd: No such option: --frob (see 'nexusd status --help')\n")


class Daemon:
    """Stands in for `nexusd.app` as `nexusd run` sees it."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.calls: list[tuple[object, object]] = []

    def run(self, config: object, overrides: object) -> None:
        self.calls.append((config, overrides))
        if self.error is not None:
            raise self.error


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Daemon:
    daemon = Daemon()
    monkeypatch.setitem(sys.modules, "nexusd.app", daemon)
    return daemon


def test_run_passes_on_what_the_command_line_overrides(run: Run, app: Daemon) -> None:
    assert run("run", "--config", "x.yaml", "--listen", "127.0.0.1:0").code == 0
    assert app.calls == [(Path("x.yaml"), {"server.listen": "127.0.0.1:0"})]


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("a"), 2), (StartError("a"), 1), (InputError("a"), 1), (KeyboardInterrupt(), 130)],
)
def test_what_ends_the_daemon_decides_the_exit_code(
    run: Run, app: Daemon, error: BaseException, code: int
) -> None:
    app.error = error
    ran = run("run")
    assert ran.code == code
    assert ran.err == ("" if code == 130 else "nexusd: a\n")


def test_every_line_of_an_error_names_the_program(run: Run, app: Daemon) -> None:
    app.error = ConfigError("f:1: a\nf:2: b")
    assert run("run").err == "nexusd: f:1: a\nnexusd: f:2: b\n"


def test_an_interrupted_wait_exits_130_and_says_that_it_goes_on(
    run: Run, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(following, "sleep", interrupt)
    daemon.on("POST", "/api/v1/placements", Answer(placement(), 202))
    ran = run("place", "worker-01", "--plan", "pro", "--wait")
    assert ran.code == 130
    assert ran.err == "the placement goes on: nexusd placements plc_01j00000000000000000000000\n"


def test_the_help_line_of_a_command_is_in_step_with_its_module() -> None:
    for entry in cli.COMMANDS.values():
        module, _, attribute = entry.target.partition(":")
        if attribute not in ("demo", "emulate"):
            assert hasattr(import_module(module), attribute)
