"""`nexusd replay`: its options, its errors and its tables, over a real SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nexusd.core.lifecycle import Placement, State
from nexusd.core.placement import Considered, Decision, PlacementRequest
from nexusd.core.records import Region
from nexusd.runtime.clock import SystemClock
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from tests.cli.conftest import Run
from tests.cli.test_terminal import on_a_terminal

NOW = datetime.now(UTC).timestamp()
EAST = Region("us-east-1", "", "healthy", 12.0, capacity=True)
WEST = Region("eu-west-2", "", "healthy", 45.0, capacity=True)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/nexusd.db"


@pytest.fixture
def recorded(url: str) -> str:
    """A stopped daemon's store: two answers, and a placement that went to us-east-1."""
    fill(url)
    return url


def fill(url: str, *, placements: int = 1) -> None:
    asyncio.run(_fill(url, placements))


async def _fill(url: str, placements: int) -> None:
    store = open_store(StoreOptions(url, "test"), SystemClock(), InlineExecutor())

    def work(tx: Any) -> None:
        tx.region_history.record([EAST, WEST], NOW - 200.0, 45.0)
        tx.region_history.record([EAST, WEST], NOW - 160.0, 45.0)
        for n in range(placements):
            at = NOW - 190.0 + n
            name = f"worker-{n:02}"
            made = Placement(f"plc_{n}", PlacementRequest(name, "pro"), State.RUNNING, at, at)
            chosen = Considered("us-east-1", eligible=True, rank=1, latency_ms=12.0, instances=1)
            tx.placements.insert(made)
            tx.placements.add_decision(made.id, Decision(at, "us-east-1", None, at, (chosen,)))

    await store.run(work)
    await store.close()


def test_what_differs_is_listed_side_by_side_and_then_what_it_came_to(run: Run, recorded: str) -> None:
    ran = run("replay", "--store", recorded, "--avoid-regions", "us-east-1")
    assert ran.code == 0
    headings, row, _, summary, actual, configured, changed = ran.out.splitlines()
    assert headings.split() == ["AT", "PLACEMENT", "ACTUAL", "CONFIGURED", "CHANGED"]
    assert row.split(maxsplit=1)[1].split("  ") == [
        "worker-00",
        "us-east-1 12 ms",
        "us-east-1 12 ms",
        "eu-west-2 45 ms",
    ]
    assert summary.split()[:6] == ["POLICY", "PLACED", "NOWHERE", "MEAN", "MS", "P95"]
    assert actual.split() == ["actual", "1", "0", "12", "12", "0", "us-east-1", "100", "%"]
    assert configured.split()[:5] == ["configured", "1", "0", "12", "12"]
    assert changed.split() == ["changed", "1", "0", "45", "45", "0", "eu-west-2", "100", "%"]
    assert ran.err == "1 of 1 decisions differ; --all lists every one\n"


def test_decisions_that_agree_are_listed_when_asked_for(run: Run, recorded: str) -> None:
    assert "worker-00" not in run("replay", "--store", recorded).out
    ran = run("replay", "--store", recorded, "--all")
    assert "worker-00" in ran.out
    assert ran.err == "0 of 1 decisions differ\n"


def test_where_nothing_would_have_been_placed_the_reason_is_told(run: Run, recorded: str) -> None:
    ran = run("replay", "--store", recorded, "--regions", "us-east-1", "--where", "region.latency_ms < 5.0")
    assert "none: no region is eligible: " in ran.out
    assert "where is false" in ran.out


def test_synthetic_requests_are_said_to_be_that(run: Run, recorded: str) -> None:
    ran = run("replay", "--store", recorded, "--every", "1m", "--all")
    assert ran.out.splitlines()[0].split() == ["AT", "CONFIGURED", "CHANGED"]
    assert "a request without constraints every 60 s instead" in ran.err


def test_more_placements_than_are_replayed_are_said(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(url, placements=4)
    monkeypatch.setattr("nexusd.cli.replaying.MOST_PLACEMENTS", 3)
    assert "only the newest 3 placements are replayed" in run("replay", "--store", url).err


def test_the_configuration_says_the_store_and_the_policy(run: Run, recorded: str, tmp_path: Path) -> None:
    config = tmp_path / "nexusd.yaml"
    config.write_text(f"store: {{url: '{recorded}'}}\nplacement: {{max_per_region: 1}}\n")
    ran = run("replay", "--config", str(config), "--max-per-region", "0")
    assert ran.code == 0
    [row] = [line for line in ran.out.splitlines() if "worker-00" in line]
    assert "eu-west-2 45 ms" in row  # us-east-1 has one already, as the decision tells


@pytest.mark.parametrize(
    "options",
    [
        "--since yesterday",
        "--since 2999-01-01T00:00:00Z",
        "--until noon",
        "--until 2000-01-01T00:00:00Z",
        "--smoothing fast",
        "--switch-margin 10",
        "--max-per-region -1",
        "--where region.latancy_ms<5",
        "--where region.",
        "--regions a,,b",
        "--avoid-regions ,",
        "--every 10ms",
        "--every 0",
        "--output xml",
    ],
)
def test_a_bad_option_is_named_in_one_line_and_exits_2(run: Run, recorded: str, options: str) -> None:
    ran = run("replay", "--store", recorded, *options.split())
    assert (ran.code, ran.out) == (2, "")
    named = "--since" if options.startswith("--until 2000") else options.split()[0]
    assert named in ran.err
    assert ran.err.count("\n") == 1


def test_too_many_decisions_are_refused_in_one_line(run: Run, recorded: str) -> None:
    connection = sqlite3.connect(recorded.removeprefix("sqlite:///"))
    connection.execute("UPDATE region_history SET at = at - 200000")
    connection.commit()
    connection.close()
    ran = run("replay", "--store", recorded, "--since", "7d", "--every", "1s")
    assert ran.code == 1
    assert "more than 100,000 decisions" in ran.err
    assert ran.err.count("\n") == 1


def test_a_store_that_is_not_there_is_one_clear_line_and_is_not_made(run: Run, url: str) -> None:
    ran = run("replay", "--store", url)
    assert ran.code == 1
    assert ran.err.startswith("nexusd: there is no SQLite file ")
    assert ran.err.count("\n") == 1
    assert not Path(url.removeprefix("sqlite:///")).exists()


def test_an_older_store_is_one_clear_line_and_is_not_migrated(run: Run, recorded: str) -> None:
    connection = sqlite3.connect(recorded.removeprefix("sqlite:///"))
    connection.execute("UPDATE alembic_version SET version_num = 'v0001'")
    connection.commit()
    ran = run("replay", "--store", recorded)
    assert ran.code == 1
    assert "is of an older nexusd (schema v0001)" in ran.err
    assert ran.err.count("\n") == 1
    assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("v0001",)
    connection.close()


def test_a_store_with_nothing_recorded_says_so(run: Run, recorded: str) -> None:
    ran = run("replay", "--store", recorded, "--since", "10s")
    assert ran.code == 1
    assert ran.err.startswith("nexusd: nothing was recorded in that time")


def test_a_bad_configuration_exits_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "nexusd.yaml").write_text("placement: {smoothing: fast}")
    assert run("replay", "--config", str(tmp_path / "nexusd.yaml")).code == 2


@pytest.mark.slow
def test_a_person_at_a_terminal_sees_a_table(recorded: str) -> None:
    code, shown = on_a_terminal("replay", "--store", recorded, "--avoid-regions", "us-east-1")
    assert code == 0
    assert "\x1b[1mconfigured" in shown
    assert "eu-west-2 45 ms" in shown


@pytest.mark.parametrize("option", ["--regions", "--avoid-regions"])
def test_a_region_that_was_not_listed_is_an_error(run: Run, recorded: str, option: str) -> None:
    ran = run("replay", "--store", recorded, option, "us-eats-1")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        f"nexusd: {option}: in that time CloudNexus does not list region us-eats-1; did you mean us-east-1?\n"
    )


def test_the_end_may_be_a_duration_ago(run: Run, recorded: str) -> None:
    assert run("replay", "--store", recorded, "--until", "1ms").code == 0
    ran = run("replay", "--store", recorded, "--since", "1h", "--until", "2h")
    assert (ran.code, "--since" in ran.err) == (2, True)
