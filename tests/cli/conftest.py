from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from nexusd import cli
from tests.cli.daemon import FakeDaemon


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that tells the command line nothing."""
    for name in ("NEXUSD_CONFIG", "NEXUSD_URL", "NEXUSD_TOKEN", "CN_API_KEY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], environment: pytest.MonkeyPatch) -> Run:
    """Runs one command line in this process."""

    def run_one(*arguments: str) -> Ran:
        code = cli.invoke(list(arguments))
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run_one


@pytest.fixture
def daemon(environment: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    """A daemon that $NEXUSD_URL points to."""
    fake = FakeDaemon()
    fake.start()
    environment.setenv("NEXUSD_URL", fake.url)
    yield fake
    fake.stop()
