"""Arguments that are a name, or the beginning of an ID."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.daemon import Answer, FakeDaemon, page, placement

PATH = "/api/v1/placements"
FIRST, SECOND = "plc_01j00000000000000000000000", "plc_01k00000000000000000000000"


def named(*rows: Any) -> Answer:
    return Answer(page(list(rows)))


def test_a_whole_id_costs_no_request(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("DELETE", f"{PATH}/{FIRST}", Answer(placement("cancelled")))
    assert run("cancel", FIRST).code == 0
    assert len(daemon.requests) == 1


@pytest.mark.parametrize(
    ("command", "method", "path"),
    [
        (["placements"], "GET", ""),
        (["explain"], "GET", ""),
        (["cancel"], "DELETE", ""),
        (["resolve", "--absent"], "POST", "/resolve"),
    ],
)
@pytest.mark.parametrize("text", ["worker-01", "plc_01j"])
def test_every_command_takes_a_name_or_the_beginning_of_an_id(
    run: Run, daemon: FakeDaemon, command: list[str], method: str, path: str, text: str
) -> None:
    daemon.on("GET", PATH, named(placement(decisions=[])))
    daemon.on("POST", "/api/v1/plan", Answer({}))
    daemon.on(method, f"{PATH}/{FIRST}{path}", Answer(placement("running")))
    assert run(*command, text).code == 0
    assert daemon.requests[0].query == {"match": text, "limit": "100"}
    assert daemon.requests[1].path == f"{PATH}/{FIRST}{path}"


def test_of_several_with_the_name_the_open_one_is_meant(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, named(placement("failed", id=FIRST), placement("queued", id=SECOND)))
    daemon.on("DELETE", f"{PATH}/{SECOND}", Answer(placement("cancelled")))
    assert run("cancel", "worker-01").code == 0


def test_a_name_goes_before_the_beginning_of_an_id(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, named(placement("failed", id=FIRST, name="plc_01k"), placement(id=SECOND)))
    daemon.on("DELETE", f"{PATH}/{FIRST}", Answer(placement("cancelled")))
    assert run("cancel", "plc_01k").code == 0


def test_an_ambiguous_one_is_an_error_that_lists_the_candidates(run: Run, daemon: FakeDaemon) -> None:
    rows = [placement("failed", id=FIRST, name="a"), placement("running", id=SECOND, name="b\x1b")]
    daemon.on("GET", PATH, named(*rows))
    ran = run("explain", "plc_01")
    assert ran.code == 2
    assert f"{FIRST} (a, failed, 2030-01-31T12:00:00.000Z), {SECOND} (b\\x1b, running, " in ran.err
    assert "'plc_01' matches 2 placements: " in ran.err
    assert ran.err.count("\n") == 1


def test_of_many_candidates_the_first_are_listed(run: Run, daemon: FakeDaemon) -> None:
    rows = [placement(id=f"plc_{n}", name=f"w{n}") for n in range(100)]
    daemon.on("GET", PATH, Answer(page(rows, total=5000)))
    ran = run("cancel", "plc_")
    assert "matches 5000 placements" in ran.err
    assert "(w9, " in ran.err
    assert "(w10, " not in ran.err
    assert "and 4990 more; give more of the ID" in ran.err


@pytest.mark.parametrize("text", ["worker-99", ""])
def test_one_that_is_not_there_is_an_error(run: Run, daemon: FakeDaemon, text: str) -> None:
    daemon.on("GET", PATH, named())
    ran = run("explain", text)
    assert (ran.code, ran.err) == (1, f"nexusd: no placement has the ID or name {text!r}\n")


def test_no_placement_of_another_name_is_cancelled(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, named(placement(name="other")))
    assert run("cancel", "worker-01").code == 1
    assert len(daemon.requests) == 1


def test_a_dead_message_is_replayed_by_the_beginning_of_its_id(run: Run, daemon: FakeDaemon) -> None:
    key = "msg_01j00000000000000000000000"
    daemon.on("GET", "/api/v1/outbox", named({"id": key, "state": "dead"}))
    daemon.on("POST", f"/api/v1/outbox/{key}/replay", Answer({"id": key, "state": "pending"}))
    assert run("outbox", "replay", "msg_01j").out == f"{key} is pending again\n"
    assert daemon.requests[0].query == {"match": "msg_01j", "limit": "100", "state": "dead"}
