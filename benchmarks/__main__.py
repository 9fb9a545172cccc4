"""Runs the benchmarks and prints one table: `python -m benchmarks [NAME or GOAL …]`. See README.md.

A benchmark is a module with `rows()`, named in `BENCHMARKS`. It is imported when it is run, so that none pays
for another's imports.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sqlite3
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module

import structlog

from benchmarks.rounds import progress
from benchmarks.table import HEAD, Row

BENCHMARKS: dict[str, tuple[str, ...]] = {
    "choosing": ("G7",),
    "storing": ("G7",),
    "accepting": ("G7",),
    "starting": ("G8",),
    "alerting": ("G6",),
    "polling": ("G1", "G2", "G3", "G4"),
    "scraping": ("G5",),
    "lagging": ("G9",),
}
"""Each module with the goals that it measures, in the order of running."""


def chosen(wanted: Sequence[str]) -> list[str]:
    """The benchmarks of these names and goals; without any, all. Raises `ValueError`."""
    goals = {goal for its in BENCHMARKS.values() for goal in its}
    for name in wanted:
        if name not in BENCHMARKS and name.upper() not in goals:
            known = ", ".join([*BENCHMARKS, *sorted(goals)])
            raise ValueError(f"there is no benchmark {name!r}; there are {known}")
    upper = {name.upper() for name in wanted}
    return [name for name, its in BENCHMARKS.items() if not wanted or name in wanted or upper & set(its)]


def rows_of(name: str) -> Iterator[Row]:
    """Its rows as they come; when it fails, a row that says so, and the traceback on stderr."""
    try:
        yield from import_module(f"benchmarks.{name}").rows()
    except Exception as error:  # noqa: BLE001 - the others are to be measured all the same
        traceback.print_exc()
        goals = " ".join(BENCHMARKS[name])
        yield Row(goals, name, None, note=f"failed: {type(error).__name__}: {error}")


def machine() -> str:
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return f"{os.cpu_count()} cores, {system}, {versions}, load average at the start {load}"


def run(names: Sequence[str]) -> int:
    """The exit code: 1 when a benchmark failed. A goal that is not met is no failure: the table says so."""
    print(f"{machine()}\n\n{HEAD}", flush=True)
    shown: list[Row] = []
    for name in names:
        progress(name)
        for row in rows_of(name):
            print(row, flush=True)
            shown.append(row)
    met = [row.met for row in shown]
    failed = sum(row.note.startswith("failed") for row in shown)
    progress(f"{met.count(True)} met, {met.count(False)} not met, {failed} failed")
    return 1 if failed else 0


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure nexusd beside its peers."
    )
    parser.add_argument("name", nargs="*", help=f"what to measure: {', '.join(BENCHMARKS)}, or a goal (G7)")
    try:
        names = chosen(parser.parse_args().name)
    except ValueError as error:
        parser.error(str(error))
    sys.exit(run(names))


if __name__ == "__main__":
    main()
