"""The simulator: it repeats itself exactly, finds nothing wrong with the engine, and catches broken ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nexusd.simulator.options import Fault, SimulationOptions
from nexusd.simulator.simulation import Result, simulate
from nexusd.simulator.variants import VARIANTS

ROOT = Path(__file__).parent.parent.parent
SHORT_DAYS = 0.01
ALL = frozenset(Fault)
TELLING = {
    "half-the-settle-time": frozenset({Fault.LOST_ANSWER, Fault.LATE_REQUEST, Fault.LIST_LAG}),
    "exact-name-only": frozenset({Fault.RENAME, Fault.LOST_ANSWER}),
    "answered-create-sent-again": frozenset({Fault.RENAME, Fault.ODD_ANSWER}),
    "hammer-dry-regions": frozenset({Fault.DRY}),
    "trust-stale-data": frozenset({Fault.PARTIAL_SWEEP, Fault.PARTITION, Fault.EMPTY_LIST}),
}
"""The faults that show it soonest, where most of a run with all of them would show nothing."""


def run(options: SimulationOptions, folder: Path) -> Result:
    return simulate(options, folder, lambda _: None)


def hash_of_a_process(hash_seed: str) -> str:
    """The trace hash of a short run in a process of its own."""
    source = (
        "import tempfile; from pathlib import Path\n"
        "from nexusd.simulator.options import SimulationOptions\n"
        "from nexusd.simulator.simulation import simulate\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        f"    print(simulate(SimulationOptions(3, {SHORT_DAYS}), Path(folder), lambda _: None).hash)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.slow
def test_nothing_breaks_though_everything_goes_wrong(tmp_path: Path) -> None:
    result = run(SimulationOptions(2, SHORT_DAYS), tmp_path)
    assert result.breach is None
    assert sum(result.ended.values()) > 100


@pytest.mark.slow
def test_without_faults_every_placement_that_is_not_cancelled_runs_or_says_why(tmp_path: Path) -> None:
    result = run(SimulationOptions(1, SHORT_DAYS, frozenset()), tmp_path)
    assert result.breach is None
    assert result.kills == {}
    assert result.counts["posts"] == result.counts["instances"]
    assert result.ended["running"] > 0.9 * result.placements


@pytest.mark.slow
def test_the_same_seed_is_the_same_run_in_any_process(tmp_path: Path) -> None:
    here = run(SimulationOptions(3, SHORT_DAYS), tmp_path).hash
    assert hash_of_a_process("1") == hash_of_a_process("2") == here


@pytest.mark.slow
def test_another_seed_is_another_run(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    one, two = (run(SimulationOptions(seed, 0.001), folder) for seed, folder in enumerate(folders))
    assert one.hash != two.hash


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_a_broken_engine_is_caught(name: str, tmp_path: Path) -> None:
    result = run(SimulationOptions(1, 1.0, TELLING.get(name, ALL), name), tmp_path)
    assert result.breach is not None
    assert result.breach.story


def test_an_engine_that_retries_at_once_is_caught_and_its_story_told(tmp_path: Path) -> None:
    result = run(SimulationOptions(1, 0.2, ALL, "retry-at-once"), tmp_path)
    assert result.breach is not None
    assert result.breach.invariant == "I1"
    story = "\n".join(result.breach.story)
    for step in ("accepted as", "intent 1 for", "POST to", "the cloud makes", "intent 2 for", "made twice"):
        assert step in story


@pytest.mark.slow
def test_every_crossing_of_a_port_is_a_place_to_die(tmp_path: Path) -> None:
    result = run(SimulationOptions(4, 0.15), tmp_path)
    assert result.breach is None
    assert len(result.kills) == 9
    assert min(result.kills.values()) > 3
