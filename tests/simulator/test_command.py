"""`nexusd simulate` as a user has it."""

from __future__ import annotations

import json

import pytest

from nexusd import cli


def test_a_run_ends_with_its_hash_and_no_violation(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["simulate", "--days", "0.002", "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert len(told["hash"]) == 64
    assert told["placements"] > 10


def test_a_breach_is_told_with_its_seed_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["simulate", "--seed", "7", "--days", "0.1", "--variant", "commit-after-the-post"]) == 1
    told = capsys.readouterr()
    assert "POST to" in told.out
    [line] = told.err.splitlines()
    assert "--seed 7" in line
    assert "before its intent was committed" in line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--faults", "kill,meteors"], "--faults: 'meteors' is no fault"),
        (["--faults", ""], "--faults: '' is no fault"),
        (["--variant", "lucky"], "--variant 'lucky' does not exist: use one of retry-at-once"),
        (["--days", "0"], "--days"),
        (["--seed", "x"], "--seed"),
    ],
)
def test_an_option_that_makes_no_sense_is_one_line_and_exits_with_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.invoke(["simulate", *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert complaint in line
