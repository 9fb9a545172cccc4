"""`nexusd explain` as it is printed."""

from __future__ import annotations

import json

from tests.cli.conftest import Run
from tests.cli.daemon import Answer, FakeDaemon, decision, placement
from tests.cli.test_terminal import on_a_terminal

ONE = "/api/v1/placements/plc_01j00000000000000000000000"


def test_it_prints_every_region_with_its_reasons_latency_rank_and_the_age_of_the_data(
    run: Run, daemon: FakeDaemon
) -> None:
    daemon.on("GET", ONE, Answer(placement("running", decisions=[decision()])))
    out = run("explain", "plc_01j00000000000000000000000").out
    assert "decided 2030-01-31T12:00:00.000Z: us-east-1" in out
    assert "policy lowest-latency, data of 2030-01-31T11:59:55.000Z (5 s old)" in out
    assert "REGION     ELIGIBLE  RANK  LATENCY MS  INSTANCES  WHY NOT" in out
    assert any("eu-west-2" in line and "no capacity" in line for line in out.splitlines())


def test_reasons_that_have_commas_are_told_apart(run: Run, daemon: FakeDaemon) -> None:
    told = decision(None)
    told["considered"][0]["reasons"] = ["has 3 instances, at most 3 are allowed per region", "no capacity"]
    daemon.on("GET", ONE, Answer(placement(decisions=[told])))
    out = run("explain", "plc_01j00000000000000000000000").out
    assert "has 3 instances, at most 3 are allowed per region; no capacity" in out


def test_smoothed_latencies_have_a_column_where_there_are_any(run: Run, daemon: FakeDaemon) -> None:
    told = decision()
    told["considered"][0]["smoothed_ms"] = 33.25
    daemon.on("GET", ONE, Answer(placement("running", decisions=[told])))
    out = run("explain", "plc_01j00000000000000000000000").out
    assert "LATENCY MS  SMOOTHED MS" in out
    assert "33.25" in out


def test_a_decision_for_nowhere_is_told_with_its_reason(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", ONE, Answer(placement(decisions=[decision(None)])))
    assert ": none: no region is eligible" in run("explain", "plc_01j00000000000000000000000").out


def test_of_one_whose_turn_has_not_come_it_says_where_it_would_go_now(run: Run, daemon: FakeDaemon) -> None:
    constraints = {"regions": ["us-east-1"], "avoid_regions": [], "where": None, "spread": None}
    daemon.on("GET", ONE, Answer(placement(constraints=constraints)))
    daemon.on("POST", "/api/v1/plan", Answer(decision()))
    out = run("explain", "plc_01j00000000000000000000000").out
    assert "not decided yet: " in out
    assert "if decided 2030-01-31T12:00:00.000Z: us-east-1" in out
    assert "no capacity" in out
    asked = daemon.requests[1]
    assert (asked.method, asked.path) == ("POST", "/api/v1/plan")
    assert asked.body == {
        "name": "worker-01",
        "plan": "pro",
        "image": "ubuntu-22.04",
        "regions": ["us-east-1"],
    }


def test_in_json_that_is_beside_what_the_daemon_answers(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", ONE, Answer(placement()))
    daemon.on("POST", "/api/v1/plan", Answer(decision()))
    answered = json.loads(run("explain", "plc_01j00000000000000000000000", "-o", "json").out)
    assert answered == placement() | {"if_decided_now": decision()}


def test_one_that_ended_before_it_was_decided_is_said_to_be_that(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", ONE, Answer(placement("cancelled")))
    ran = run("explain", "plc_01j00000000000000000000000")
    assert ran.code == 0
    assert "never decided" in ran.out
    assert len(daemon.requests) == 1


def test_what_the_request_asks_of_a_region_is_shown(run: Run, daemon: FakeDaemon) -> None:
    constraints = {
        "regions": ["us-east-1", "eu-west-2"],
        "avoid_regions": ["ap-south-1"],
        "where": "region.latency_ms < 80.0",
        "spread": {"group": "web", "max_skew": 2},
    }
    asked = placement("running", constraints=constraints, priority=5, deadline="2030-01-31T13:00:00.000Z")
    daemon.on("GET", ONE, Answer(asked))
    out = run("explain", "plc_01j00000000000000000000000").out
    for line in (
        "allowed regions  us-east-1, eu-west-2",
        "avoided regions  ap-south-1",
        "where            region.latency_ms < 80.0",
        "spread           group web, at most 2 apart",
        "priority         5",
        "deadline         2030-01-31T13:00:00.000Z",
    ):
        assert line in out.splitlines()


def test_what_it_does_not_ask_is_left_out(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", ONE, Answer(placement("running")))
    out = run("explain", "plc_01j00000000000000000000000").out
    assert "allowed regions" not in out
    assert "priority" not in out


def test_attempts_are_shown_with_the_providers_words(run: Run, daemon: FakeDaemon) -> None:
    said = "409 INSUFFICIENT_CAPACITY: no pro instances left"
    attempt = {"number": 1, "region": "us-east-1", "sent_at": None, "outcome": "refused", "detail": said}
    daemon.on("GET", ONE, Answer(placement("failed", attempts=[attempt], decisions=[decision()])))
    assert said in run("explain", "plc_01j00000000000000000000000").out


def test_of_a_held_placement_it_says_who_decides(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", ONE, Answer(placement("held", decisions=[decision()])))
    ran = run("explain", "plc_01j00000000000000000000000")
    assert ran.err == "a person decides: nexusd resolve plc_01j00000000000000000000000 --exists|--absent\n"


def test_json_is_all_that_the_daemon_answers(run: Run, daemon: FakeDaemon) -> None:
    whole = placement("held", decisions=[decision()])
    daemon.on("GET", ONE, Answer(whole))
    assert json.loads(run("explain", "plc_01j00000000000000000000000", "-o", "json").out) == whole


def test_at_a_terminal_the_decision_is_a_table(daemon: FakeDaemon) -> None:
    daemon.on("GET", ONE, Answer(placement("running", decisions=[decision()])))
    code, shown = on_a_terminal("explain", "plc_01j00000000000000000000000")
    assert code == 0
    assert "\x1b[1mwhy not" in shown
    assert "no capacity" in shown
