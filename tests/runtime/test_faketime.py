"""The wall clock of a running process is really stepped, by libfaketime."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.runtime.polling_process import INTERVAL_S

pytestmark = pytest.mark.slow

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
if LIBRARY is None:
    if os.environ.get("NEXUSD_CI"):
        raise RuntimeError("libfaketime is missing: apt-get install faketime")
    pytest.skip("needs libfaketime", allow_module_level=True)

BEFORE_S, AFTER_S = 2.0, 4.0


@contextmanager
def polling(folder: Path, *arguments: str) -> Iterator[Path]:
    """The polling process with a fake wall clock; gives the file that sets it."""
    wall = folder / "wall"
    wall.write_text("+0s\n")
    environment = {
        **os.environ,
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(wall),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }
    command = [sys.executable, "-m", "tests.runtime.polling_process", *arguments]
    with (folder / "out").open("w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, cwd=Path(__file__).parents[2])
        try:
            yield wall
        finally:
            process.kill()
            process.wait()


def poll_through_a_step(folder: Path, step: str, *arguments: str) -> list[list[float]]:
    """What each poll printed: monotonic time, wall time, the clock's offset."""
    out = folder / "out"
    with polling(folder, *arguments) as wall:
        deadline = time.monotonic() + 30.0
        while (not out.exists() or not out.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(BEFORE_S)
        stepped_at = time.monotonic()
        replacement = folder / "wall.new"
        replacement.write_text(f"{step}\n")
        replacement.rename(wall)
        time.sleep(AFTER_S)
        ended_at = time.monotonic()
    polls = [[float(word) for word in line.split()] for line in out.read_text().splitlines()]
    assert polls
    assert polls[0][0] < stepped_at
    return [*polls, [ended_at, 0.0, 0.0]]


def longest_gap_s(polls: list[list[float]]) -> float:
    return max(later[0] - earlier[0] for earlier, later in pairwise(polls))


@pytest.mark.parametrize(("step", "step_s"), [("-7200s", -7200.0), ("+7200s", 7200.0)])
def test_a_step_of_two_hours_changes_no_gap_by_two_intervals(
    tmp_path: Path, step: str, step_s: float
) -> None:
    polls = poll_through_a_step(tmp_path, step)
    walls = [wall for _, wall, _ in polls[:-1]]
    assert any(abs(later - earlier) > 7000 for earlier, later in pairwise(walls)), "the wall did not step"
    assert polls[-2][2] == pytest.approx(step_s, abs=5.0)
    assert longest_gap_s(polls) < 2 * INTERVAL_S
    assert len(polls) >= (BEFORE_S + AFTER_S) / INTERVAL_S * 0.7


def test_on_apschedulers_usual_clock_the_same_step_silences_the_polls(tmp_path: Path) -> None:
    polls = poll_through_a_step(tmp_path, "-7200s", "naive")
    assert longest_gap_s(polls) > 2 * INTERVAL_S
