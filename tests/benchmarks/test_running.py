"""Which benchmarks run, in what order they measure, and what becomes of one that fails."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from benchmarks import __main__ as command
from benchmarks.rounds import interleaved, median_round


def test_without_names_all_run() -> None:
    assert command.chosen([]) == list(command.BENCHMARKS)


def test_a_name_chooses_its_benchmark() -> None:
    assert command.chosen(["starting"]) == ["starting"]


def test_a_goal_chooses_all_that_measure_it() -> None:
    assert command.chosen(["g7", "starting"]) == ["choosing", "storing", "accepting", "starting"]


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="no benchmark 'polls'; there are choosing"):
        command.chosen(["starting", "polls"])


@pytest.mark.parametrize("name", command.BENCHMARKS)
def test_each_benchmark_is_there(name: str) -> None:
    assert find_spec(f"benchmarks.{name}") is not None


def test_one_that_fails_is_a_row_and_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(command.BENCHMARKS, "absent", ("G1",))
    assert command.run(["absent"]) == 1
    shown = capsys.readouterr()
    assert "| G1 | absent | failed: ModuleNotFoundError: No module named 'benchmarks.absent' |" in shown.out
    assert "Traceback" in shown.err


def test_a_round_has_both_and_who_is_first_takes_turns() -> None:
    order: list[str] = []

    def ours() -> int:
        order.append("ours")
        return 1

    def theirs() -> int:
        order.append("theirs")
        return 2

    assert interleaved("read", ours, theirs, rounds=3) == [(1, 2)] * 3
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]


def test_the_median_round_is_that_of_the_median_ratio() -> None:
    rounds = [(1.0, 10.0), (5.0, 10.0), (2.0, 10.0)]
    assert median_round(rounds, float) == (2.0, 10.0)
