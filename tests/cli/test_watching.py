"""`nexusd regions`, `instances`, `fleets`, `metrics`."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.conftest import Run
from tests.cli.daemon import Answer, FakeDaemon, page

REGION = {
    "slug": "us-east-1",
    "name": "Virginia, US",
    "status": "healthy",
    "latency_ms": 12.0,
    "capacity": True,
    "eligible": True,
    "reasons": [],
    "instances": 42,
}


def instance(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"inst_{number}",
        "name": f"web-{number}",
        "status": "running",
        "region": "us-east-1",
        "public_ip": None,
        "created_at": None,
    } | more


def test_regions_are_a_table_with_the_reasons(run: Run, daemon: FakeDaemon) -> None:
    dry = REGION | {"slug": "eu-west-2", "eligible": False, "capacity": False, "reasons": ["no capacity"]}
    daemon.on(
        "GET", "/api/v1/regions", Answer({"regions": [REGION, dry], "observed_at": "2030-01-31T12:00:00Z"})
    )
    ran = run("regions")
    header, first, second = ran.out.splitlines()
    assert header.startswith("REGION")
    assert first.split()[0] == "us-east-1"
    assert second.endswith("no capacity")
    assert ran.err == "observed 2030-01-31T12:00:00Z\n"


def test_regions_are_in_the_order_of_the_next_placement(run: Run, daemon: FakeDaemon) -> None:
    ranks = {"c": None, "b": 2, "a": 1}
    regions = [REGION | {"slug": slug, "rank": rank} for slug, rank in ranks.items()]
    daemon.on("GET", "/api/v1/regions", Answer({"regions": regions, "observed_at": None}))
    assert [line[0] for line in run("regions").out.splitlines()[1:]] == ["a", "b", "c"]


def test_a_reason_is_said_once(run: Run, daemon: FakeDaemon) -> None:
    cooling = REGION | {"eligible": False, "reasons": ["cooling off", "cooling off", "full"]}
    daemon.on("GET", "/api/v1/regions", Answer({"regions": [cooling], "observed_at": None}))
    assert run("regions").out.splitlines()[1].endswith("  cooling off; full")


def test_json_is_what_the_daemon_answered(run: Run, daemon: FakeDaemon) -> None:
    answer = {"regions": [REGION], "observed_at": "2030-01-31T12:00:00Z"}
    daemon.on("GET", "/api/v1/regions", Answer(answer))
    ran = run("regions", "-o", "json")
    assert json.loads(ran.out) == answer
    assert ran.err == ""


def test_a_pipe_gets_no_colours_and_nothing_cut(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/v1/instances", Answer(page([instance(1, name="n" * 300)])))
    out = run("instances").out
    assert "\x1b" not in out
    assert "n" * 300 in out


def test_instances_are_filtered_by_the_daemon(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/v1/instances", Answer(page([])))
    run("instances", "--region", "us-east-1", "--status", "stopped", "--name", "a b&c", "--limit", "5")
    assert daemon.requests[0].query == {
        "region": "us-east-1",
        "status": "stopped",
        "name": "a b&c",
        "limit": "5",
        "offset": "0",
    }


def test_instances_are_read_page_by_page_up_to_the_limit(run: Run, daemon: FakeDaemon) -> None:
    rows = [instance(n) for n in range(300)]

    def answer(request: Any) -> Answer:
        offset, limit = int(request.query["offset"]), int(request.query["limit"])
        return Answer(page(rows[offset : offset + limit], total=300))

    daemon.on("GET", "/api/v1/instances", answer)
    ran = run("instances", "--limit", "250", "-o", "json")
    assert [row["id"] for row in json.loads(ran.out)["data"]] == [f"inst_{n}" for n in range(250)]
    assert [request.query["limit"] for request in daemon.requests] == ["100", "100", "50"]


def test_a_list_that_shrinks_while_it_is_read_ends(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/v1/instances", Answer(page([instance(1)], total=5)), Answer(page([], total=5)))
    assert run("instances", "--limit", "0").code == 0
    assert len(daemon.requests) == 2


def test_a_name_cannot_steer_the_terminal(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/v1/instances", Answer(page([instance(1, name="\x1b[2J\r\nevil\u202e\x9b31m")])))
    for arguments in (["instances"], ["instances", "-o", "json"]):
        out = run(*arguments).out
        assert not set(out) & {"\x1b", "\r", "\u202e", "\x9b"}
        assert "evil" in out


def test_metrics_are_printed_as_they_are(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", "/metrics", Answer(raw=b"nexusd_leader 1\n"))
    assert run("metrics").out == "nexusd_leader 1\n"


def test_metrics_in_a_pipe_keep_every_byte(run: Run, daemon: FakeDaemon) -> None:
    text = 'nexusd_a{region="a\x1b[2J"} 1\n'
    daemon.on("GET", "/metrics", Answer(raw=text.encode()))
    assert run("metrics").out == text


def test_metrics_as_json_are_their_samples(run: Run, daemon: FakeDaemon) -> None:
    text = b'# HELP nexusd_leader Whether.\n# TYPE nexusd_leader gauge\nnexusd_leader{a="b"} 1\n'
    daemon.on("GET", "/metrics", Answer(raw=text))
    assert json.loads(run("metrics", "-o", "json").out) == [
        {
            "name": "nexusd_leader",
            "help": "Whether.",
            "type": "gauge",
            "samples": [{"name": "nexusd_leader", "labels": {"a": "b"}, "value": "1"}],
        }
    ]


def test_metrics_that_are_none_are_one_line(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", "/metrics", Answer(raw=b"<html>\n"))
    ran = run("metrics", "-o", "json")
    assert (ran.code, ran.err) == (1, "nexusd: the daemon's metrics cannot be read\n")


FLEET = {
    "name": "web",
    "plan": "pro",
    "count": 6,
    "alive": 4,
    "in_flight": 1,
    "missing": 1,
    "surplus": 0,
    "by_region": {"us-east-1": 3, "eu-west-2": 1},
    "reason": None,
    "next_try_at": None,
}


def test_members_that_a_fleet_did_not_create_are_noted(run: Run, daemon: FakeDaemon) -> None:
    answer = page([{**FLEET, "adopted": 3}]) | {"observed_at": "2030-01-31T12:00:00Z"}
    daemon.on("GET", "/api/v1/fleets", Answer(answer))
    assert "fleet web: counts 3 members that it did not create" in run("fleets").err


def test_fleets_are_shown_with_their_regions(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/v1/fleets", Answer(page([FLEET]) | {"observed_at": "2030-01-31T12:00:00Z"}))
    ran = run("fleets")
    heading, row = ran.out.splitlines()
    assert heading.split() == "NAME PLAN COUNT ALIVE IN FLIGHT MISSING SURPLUS REGIONS WAITS FOR".split()
    assert row.split() == "web pro 6 4 1 1 0 us-east-1: 3, eu-west-2: 1 -".split()
    assert "observed 2030-01-31T12:00:00Z" in ran.err


def test_what_a_fleet_waits_for_is_shown_and_until_when(run: Run, daemon: FakeDaemon) -> None:
    waiting = FLEET | {"reason": "1 in a row failed\x1b[2J", "next_try_at": "2030-01-31T12:01:00Z"}
    daemon.on("GET", "/api/v1/fleets", Answer(page([waiting])))
    assert "1 in a row failed\\x1b[2J (next try 2030-01-31T12:01:00Z)" in run("fleets").out


def test_fleets_as_json_are_the_daemons_answer(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/v1/fleets", Answer(page([FLEET])))
    assert json.loads(run("fleets", "-o", "json").out)["data"] == [FLEET]


def test_not_all_fleets_may_be_shown(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/v1/fleets", Answer(page([FLEET], total=7)))
    assert "1 of 7 shown" in run("fleets", "--limit", "1").err
