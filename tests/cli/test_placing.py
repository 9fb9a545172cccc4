"""`nexusd place`, `placements`, `explain`, `cancel`."""

from __future__ import annotations

import json

import pytest

from nexusd.cli import following
from tests.cli.conftest import Run
from tests.cli.daemon import Answer, FakeDaemon, decision, error, page, placement

PATH = "/api/v1/placements"
ONE = f"{PATH}/plc_01j00000000000000000000000"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_S", 0.001)


def test_place_sends_the_request_as_it_was_given(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", PATH, Answer(placement(), 202))
    arguments = "--plan pro --image debian-12 --ssh-key a --ssh-key b --region r1 --avoid-region r2"
    more = "--spread-group web --max-skew 2 --priority 5 --deadline 10m"
    ran = run("place", "worker-01", *arguments.split(), "--where", "region.capacity", *more.split())
    assert ran.code == 0
    assert daemon.requests[0].body == {
        "name": "worker-01",
        "plan": "pro",
        "image": "debian-12",
        "ssh_keys": ["a", "b"],
        "regions": ["r1"],
        "avoid_regions": ["r2"],
        "where": "region.capacity",
        "spread": {"group": "web", "max_skew": 2},
        "priority": 5,
        "deadline": "10m",
    }


def test_place_leaves_out_what_was_not_given(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", PATH, Answer(placement(), 202))
    run("place", "worker-01", "--plan", "pro")
    assert daemon.requests[0].body == {"name": "worker-01", "plan": "pro"}


def test_place_prints_the_id_and_the_state(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", PATH, Answer(placement(), 202))
    ran = run("place", "worker-01", "--plan", "pro")
    assert "plc_01j00000000000000000000000" in ran.out
    assert "queued" in ran.out


def test_a_lost_answer_is_asked_for_again_with_the_same_key(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", PATH, Answer(drop=True), Answer(placement(), 202))
    assert run("place", "worker-01", "--plan", "pro").code == 0
    keys = [request.headers["Idempotency-Key"] for request in daemon.requests]
    assert len(keys) == 2
    assert keys[0] == keys[1]


def test_two_placements_have_two_keys(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", PATH, Answer(placement(), 202))
    run("place", "a", "--plan", "pro")
    run("place", "a", "--plan", "pro")
    assert daemon.requests[0].headers["Idempotency-Key"] != daemon.requests[1].headers["Idempotency-Key"]


def test_a_refused_placement_says_why_in_one_line_and_exits_2(run: Run, daemon: FakeDaemon) -> None:
    details = [{"field": "plan", "message": "one of starter, pro, enterprise is expected"}]
    daemon.on("POST", PATH, error(400, "VALIDATION_ERROR", "the request is not valid", details))
    ran = run("place", "worker-01", "--plan", "huge")
    assert ran.code == 2
    said = "the request is not valid; plan: one of starter, pro, enterprise is expected"
    assert ran.err == f"nexusd: {said}\n"


def test_dry_run_asks_for_a_plan_and_creates_nothing(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", "/api/v1/plan", Answer(decision()))
    ran = run("place", "worker-01", "--plan", "pro", "--dry-run")
    assert ran.code == 0
    assert [request.path for request in daemon.requests] == ["/api/v1/plan"]
    assert "no capacity" in ran.out
    assert "us-east-1; nothing was created" in ran.err


def test_dry_run_without_a_region_exits_1_with_the_reason(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", "/api/v1/plan", Answer(decision(None)))
    ran = run("place", "worker-01", "--plan", "pro", "--dry-run")
    assert ran.code == 1
    assert ran.err == "nexusd: no region now: no region is eligible\n"


def test_wait_follows_it_until_it_runs(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", PATH, Answer(placement(), 202))
    states = ("creating", "provisioning", "provisioning", "running")
    daemon.on("GET", ONE, *(Answer(placement(state)) for state in states))
    ran = run("place", "worker-01", "--plan", "pro", "--wait")
    assert ran.code == 0
    assert ran.out.splitlines()[:4] == [
        "worker-01: queued",
        "worker-01: creating in us-east-1",
        "worker-01: provisioning in us-east-1",
        "worker-01: running in us-east-1",
    ]


@pytest.mark.parametrize("state", ["failed", "expired", "cancelled"])
def test_wait_exits_1_when_it_did_not_come_to_run(run: Run, daemon: FakeDaemon, state: str) -> None:
    daemon.on("POST", PATH, Answer(placement(), 202))
    daemon.on("GET", ONE, Answer(placement(state, reason="quota exceeded")))
    ran = run("place", "worker-01", "--plan", "pro", "--wait")
    assert ran.code == 1
    assert ran.err == f"nexusd: worker-01 is {state}: quota exceeded\n"


def test_wait_stops_at_its_timeout_and_says_that_the_placement_goes_on(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", PATH, Answer(placement(), 202))
    daemon.on("GET", ONE, Answer(placement("provisioning")))
    ran = run("place", "worker-01", "--plan", "pro", "--wait", "--timeout", "20ms")
    assert ran.code == 1
    assert (
        ran.err
        == "nexusd: still provisioning; it goes on: nexusd placements plc_01j00000000000000000000000\n"
    )


def test_wait_outlives_a_daemon_that_is_away_for_a_moment(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", PATH, Answer(placement(), 202))
    daemon.on("GET", ONE, Answer(drop=True), Answer(placement("running")))
    assert run("place", "worker-01", "--plan", "pro", "--wait").code == 0


def test_wait_gives_up_on_a_daemon_that_stays_away(
    run: Run, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PATIENCE_S", 0.02)
    daemon.on("POST", PATH, Answer(placement(), 202))
    daemon.on("GET", ONE, Answer(drop=True))
    assert run("place", "worker-01", "--plan", "pro", "--wait").code == 1


def test_wait_with_json_prints_the_final_placement_alone(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", PATH, Answer(placement(), 202))
    daemon.on("GET", ONE, Answer(placement("running")))
    ran = run("place", "worker-01", "--plan", "pro", "--wait", "-o", "json")
    assert json.loads(ran.out)["state"] == "running"


@pytest.mark.parametrize(
    "arguments",
    [
        "x",
        "x --plan pro --timeout 5m",
        "x --plan pro --max-skew 2",
        "x --plan pro --wait --timeout soon",
        "x --plan pro --priority high",
    ],
)
def test_misuse_exits_2_with_one_line_and_sends_nothing(run: Run, daemon: FakeDaemon, arguments: str) -> None:
    ran = run("place", *arguments.split())
    assert ran.code == 2
    assert ran.err.startswith("nexusd: ")
    assert ran.err.count("\n") == 1
    assert daemon.requests == []


def test_placements_are_listed_page_by_page(run: Run, daemon: FakeDaemon) -> None:
    rows = [placement(name=f"w{n}") for n in range(150)]
    daemon.on(
        "GET",
        PATH,
        lambda request: Answer(page(rows[int(request.query["offset"]) :][:100], total=150)),
    )
    ran = run("placements", "--limit", "0", "--state", "queued")
    assert len(ran.out.splitlines()) == 151
    assert [request.query["state"] for request in daemon.requests] == ["queued", "queued"]


def test_placements_says_when_it_does_not_show_all(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, Answer(page([placement()], total=7)))
    assert run("placements", "--limit", "1").err == "1 of 7 shown; --limit 0 shows all\n"


def test_one_placement_is_shown_with_its_attempts(run: Run, daemon: FakeDaemon) -> None:
    attempt = {"number": 1, "region": "us-east-1", "sent_at": None, "outcome": "refused", "detail": "no room"}
    daemon.on("GET", ONE, Answer(placement("failed", attempts=[attempt])))
    ran = run("placements", "plc_01j00000000000000000000000")
    assert ran.code == 0
    assert "no room" in ran.out


def test_an_id_cannot_lead_to_another_path(run: Run, daemon: FakeDaemon) -> None:
    evil = "../status?x=1"
    daemon.on("GET", PATH, Answer(page([placement(id=evil, name="w")])))
    run("explain", "w")
    assert daemon.requests[1].path == f"{PATH}/..%2Fstatus%3Fx%3D1"


def test_cancel_deletes_and_says_so(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("DELETE", ONE, Answer(placement("cancelled")))
    assert run("cancel", "plc_01j00000000000000000000000").out == "worker-01 is cancelled\n"


def test_cancelling_too_late_is_told_in_the_daemons_words(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("DELETE", ONE, error(409, "CONFLICT", "it is being created"))
    ran = run("cancel", "plc_01j00000000000000000000000")
    assert (ran.code, ran.err) == (1, "nexusd: it is being created\n")


@pytest.mark.parametrize(("verdict", "state"), [("exists", "provisioning"), ("absent", "queued")])
def test_resolve_sends_what_the_person_says_and_prints_the_new_state(
    run: Run, daemon: FakeDaemon, verdict: str, state: str
) -> None:
    daemon.on("POST", f"{ONE}/resolve", Answer(placement(state, region=None)))
    ran = run("resolve", "plc_01j00000000000000000000000", f"--{verdict}")
    assert (ran.code, ran.out) == (0, f"worker-01 is {state}\n")
    assert [request.body for request in daemon.requests] == [{"outcome": verdict}]


def test_resolve_prints_json(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", f"{ONE}/resolve", Answer(placement("provisioning")))
    assert (
        json.loads(run("resolve", "plc_01j00000000000000000000000", "--exists", "-o", "json").out)["state"]
        == "provisioning"
    )


@pytest.mark.parametrize("flags", ["", "--exists --absent"])
def test_resolve_needs_exactly_one_verdict(run: Run, daemon: FakeDaemon, flags: str) -> None:
    ran = run("resolve", "plc_01j00000000000000000000000", *flags.split())
    assert ran.code == 2
    assert "exactly one" in ran.err
    assert ran.err.count("\n") == 1
    assert daemon.requests == []


def test_resolving_what_is_not_held_is_told_in_the_daemons_words(run: Run, daemon: FakeDaemon) -> None:
    said = "placement plc_01j00000000000000000000000 is queued: only a held one can be resolved"
    daemon.on("POST", f"{ONE}/resolve", error(409, "CONFLICT", said))
    ran = run("resolve", "plc_01j00000000000000000000000", "--absent")
    assert (ran.code, ran.err) == (1, f"nexusd: {said}\n")


def test_wait_outlives_a_store_that_is_away_for_a_moment(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", PATH, Answer(placement(), 202))
    daemon.on("GET", ONE, error(503, "STORE_UNAVAILABLE", "disk full"), Answer(placement("running")))
    assert run("place", "worker-01", "--plan", "pro", "--wait").code == 0


def test_wait_ends_when_the_placement_is_no_more(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", PATH, Answer(placement(), 202))
    daemon.on("GET", ONE, error(404, "NOT_FOUND", "there is no such placement"))
    ran = run("place", "worker-01", "--plan", "pro", "--wait")
    assert (ran.code, ran.err) == (1, "nexusd: there is no such placement\n")


@pytest.mark.parametrize("output", ["table", "json"])
def test_warnings_are_printed_on_stderr(run: Run, daemon: FakeDaemon, output: str) -> None:
    warnings = ["regions: CloudNexus does not list region mars; it lists us-east-1"]
    daemon.on("POST", PATH, Answer(placement(warnings=warnings), 202))
    daemon.on("POST", "/api/v1/plan", Answer(decision(warnings=warnings)))
    for arguments in ([], ["--dry-run"]):
        ran = run("place", "w", "--plan", "pro", "--region", "mars", "-o", output, *arguments)
        assert ran.code == 0
        assert f"warning: {warnings[0]}" in ran.err.splitlines()
        assert "warning" not in ran.out.replace('"warnings"', "")
