"""Limits of threads and memory are checked at the start, and reported in one line."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nexusd.core.errors import StartError
from nexusd.runtime import threads
from tests.e2e.daemon import environment


def test_enough_threads_are_enough() -> None:
    before = threading.active_count()
    threads.check_limit()
    assert threading.active_count() == before


def test_too_few_threads_refuse_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    left = iter(range(5))

    def limited(thread: threading.Thread) -> None:
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(StartError, match=r"cannot start a thread: .*; 48 threads are needed, 5 could be"):
        threads.check_limit()


@pytest.mark.slow
@pytest.mark.parametrize("kib", [40_000, 120_000, 250_000])
def test_a_limit_of_memory_ends_the_daemon_in_one_line(tmp_path: Path, kib: int) -> None:
    """At some limits libuv aborted the process, at others there was a traceback."""
    done = subprocess.run(
        ["prlimit", f"--as={kib * 1024}", sys.executable, "-m", "nexusd", "run", "--config", "/dev/null"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
        env={**environment(tmp_path), "CN_API_KEY": "k"},
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "raise the limit" in done.stderr
