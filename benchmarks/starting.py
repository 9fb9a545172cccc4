"""What a start of the command costs, beside an interpreter that does nothing."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.rounds import interleaved, median_round
from benchmarks.table import Figure, Row, at_most


def rows() -> Iterator[Row]:
    shown, bare = median_round(interleaved("nexusd --help", help_cpu_s, bare_python_cpu_s), float)
    beside = Figure(bare, "s", "python -c pass")
    yield Row("G8", "nexusd --help, CPU", Figure(shown, "s"), beside, at_most(0.25, "s"))


def _cpu_s(*arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def help_cpu_s() -> float:
    return _cpu_s("-m", "nexusd", "--help")


def bare_python_cpu_s() -> float:
    return _cpu_s("-c", "pass")
