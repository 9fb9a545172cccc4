"""`nexusd alerts` and `nexusd silence`."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.daemon import Answer, FakeDaemon, error, page

ALERT: dict[str, Any] = {
    "fingerprint": "126e1818384b0d78",
    "state": "firing",
    "labels": {"alertname": "InstanceStopped", "severity": "warning", "name": "web-1"},
    "annotations": {"summary": "Instance web-1 is stopped\x1b[31m"},
    "active_at": "2030-01-31T12:00:00.000Z",
    "fired_at": "2030-01-31T12:00:05.000Z",
    "resolved_at": None,
    "inhibited_by": ["448881ef475b9b26"],
    "inhibited_by_names": ["RegionUnhealthy"],
    "silenced_by": ["6f1c2a52-0f0e-4b2a-9d53-6d6a53c2b9b1"],
}
SILENCE: dict[str, Any] = {
    "id": "6f1c2a52-0f0e-4b2a-9d53-6d6a53c2b9b1",
    "status": {"state": "active"},
    "matchers": [
        {"name": "alertname", "value": "InstanceStopped", "isRegex": False, "isEqual": True},
        {"name": "region", "value": "us-.*", "isRegex": True, "isEqual": False},
    ],
    "startsAt": "2030-01-31T12:00:00.000Z",
    "endsAt": "2030-01-31T14:00:00.000Z",
    "createdBy": "ada",
    "comment": "being moved",
}


class TestAlerts:
    def test_a_table_says_what_is_wrong_and_who_is_not_told(self, run: Run, daemon: FakeDaemon) -> None:
        daemon.on("GET", "/api/v1/alerts", Answer(page([ALERT])))
        out = run("alerts").out
        assert out.splitlines()[0].split() == "ALERT SEVERITY STATE ABOUT SUMMARY SINCE NOT TOLD".split()
        assert "name=web-1" in out
        assert "2030-01-31T12:00:05.000Z" in out
        assert "inhibited by RegionUnhealthy, silenced by 6f1c2a52" in out
        assert "\x1b" not in out

    def test_json_is_the_daemons_answer(self, run: Run, daemon: FakeDaemon) -> None:
        daemon.on("GET", "/api/v1/alerts", Answer(page([ALERT])))
        assert json.loads(run("alerts", "-o", "json").out)["data"] == [ALERT]

    def test_state_and_matchers_are_asked_for(self, run: Run, daemon: FakeDaemon) -> None:
        daemon.on("GET", "/api/v1/alerts", Answer(page([])))
        assert run("alerts", "--state", "firing", "region=~eu-.*").code == 0
        assert daemon.requests[0].query["state"] == "firing"
        assert daemon.requests[0].query["filter"] == 'region=~"eu-.*"'

    @pytest.mark.parametrize(
        ("arguments", "filters"),
        [
            (["InstanceStopped"], ['alertname="InstanceStopped"']),
            (["InstanceStopped", "region=eu-west-2"], ['alertname="InstanceStopped"', 'region="eu-west-2"']),
            (['{severity="critical", region!~"us-.*"}'], ['severity="critical"', 'region!~"us-.*"']),
            (['an "odd" name'], [r'alertname="an \"odd\" name"']),
        ],
    )
    def test_a_bare_first_word_is_an_alerts_name(
        self, run: Run, daemon: FakeDaemon, arguments: list[str], filters: list[str]
    ) -> None:
        daemon.on("GET", "/api/v1/alerts", Answer(page([])))
        assert run("alerts", *arguments).code == 0
        assert daemon.requests[0].queries["filter"] == filters

    def test_an_invalid_matcher_is_a_usage_error(self, run: Run, daemon: FakeDaemon) -> None:
        ran = run("alerts", "InstanceStopped", "eu-west-2")
        assert (ran.code, daemon.requests) == (2, [])
        assert "'eu-west-2' is not a matcher" in ran.err

    def test_what_the_daemon_refuses_is_one_line(self, run: Run, daemon: FakeDaemon) -> None:
        daemon.on("GET", "/api/v1/alerts", error(400, "VALIDATION_ERROR", "state: one of pending, firing"))
        ran = run("alerts", "--state", "angry")
        assert (ran.code, ran.err) == (2, "nexusd: state: one of pending, firing\n")


class TestAdd:
    def test_it_asks_for_a_silence_from_now_on(self, run: Run, daemon: FakeDaemon) -> None:
        daemon.on("POST", "/api/v2/silences", Answer({"silenceID": SILENCE["id"]}))
        arguments = ("alertname=InstanceStopped", "region!~us-.*", "--duration", "2h")
        ran = run("silence", "add", *arguments, "--comment", "moving", "--author", "ada")
        assert (ran.code, ran.out) == (0, SILENCE["id"] + "\n")
        (request,) = daemon.requests
        assert request.body["matchers"] == SILENCE["matchers"]
        assert (request.body["createdBy"], request.body["comment"]) == ("ada", "moving")
        start, end = (datetime.fromisoformat(request.body[key]) for key in ("startsAt", "endsAt"))
        assert (end - start).total_seconds() == 7200.0

    def test_a_first_word_alone_is_an_alerts_name(self, run: Run, daemon: FakeDaemon) -> None:
        daemon.on("POST", "/api/v2/silences", Answer({"silenceID": SILENCE["id"]}))
        run("silence", "add", "InstanceStopped", "--comment", "x", "-o", "json")
        assert daemon.requests[0].body["matchers"] == SILENCE["matchers"][:1]

    def test_matchers_may_be_in_braces_with_quoted_names(self, run: Run, daemon: FakeDaemon) -> None:
        daemon.on("POST", "/api/v2/silences", Answer({"silenceID": SILENCE["id"]}))
        run("silence", "add", '{"my label"="x", foo=~"a|b"}', "größe!=y", "--comment", "x", "-o", "json")
        assert [(m["name"], m["value"]) for m in daemon.requests[0].body["matchers"]] == [
            ("my label", "x"),
            ("foo", "a|b"),
            ("größe", "y"),
        ]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["alertname=A", "B", "-c", "x"], "'B' is not a matcher"),
            (["a=~(", "-c", "x"], "pattern"),
            (["alertname=A", "-c", "x", "-d", "soon"], "--duration"),
            (["alertname=A"], "--comment"),
            (["-c", "x"], "MATCHER"),
        ],
    )
    def test_misuse_is_one_line_and_nothing_is_sent(
        self, run: Run, daemon: FakeDaemon, arguments: list[str], said: str
    ) -> None:
        ran = run("silence", "add", *arguments)
        assert (ran.code, len(ran.err.splitlines())) == (2, 1)
        assert said in ran.err
        assert daemon.requests == []

    def test_what_the_daemon_refuses_is_one_line(self, run: Run, daemon: FakeDaemon) -> None:
        daemon.on("POST", "/api/v2/silences", Answer("matchers: at least one must not match", 400))
        ran = run("silence", "add", "alertname=~.*", "-c", "x")
        assert (ran.code, ran.err) == (2, "nexusd: matchers: at least one must not match\n")

    def test_a_duration_beyond_all_calendars_is_a_usage_error(self, run: Run, daemon: FakeDaemon) -> None:
        ran = run("silence", "add", "X", "--duration", "9999999d", "-c", "x")
        assert (ran.code, len(ran.err.splitlines())) == (2, 1)
        assert "9999999d is too long" in ran.err
        assert daemon.requests == []

    def test_who_may_not_is_told_of_the_token(self, run: Run, daemon: FakeDaemon) -> None:
        daemon.on("POST", "/api/v2/silences", Answer("the token is not right", 401))
        ran = run("silence", "add", "X", "-c", "x")
        assert (ran.code, ran.err) == (1, "nexusd: the token is not right (give --token or $NEXUSD_TOKEN)\n")


class TestList:
    OVER = SILENCE | {"id": "old", "status": {"state": "expired"}}

    def test_a_table_of_those_that_are_not_over(self, run: Run, daemon: FakeDaemon) -> None:
        daemon.on("GET", "/api/v2/silences", Answer([SILENCE, self.OVER]))
        heading, line = run("silence", "list").out.splitlines()
        assert heading.split() == ["ID", "STATE", "MATCHERS", "FROM", "UNTIL", "BY", "COMMENT"]
        assert 'alertname="InstanceStopped", region!~"us-.*"' in line

    def test_with_expired_those_that_are_over_too(self, run: Run, daemon: FakeDaemon) -> None:
        daemon.on("GET", "/api/v2/silences", Answer([SILENCE, self.OVER]))
        assert len(json.loads(run("silence", "list", "--expired", "-o", "json").out)) == 2


A, B = "0b1f6c1e-0000-4000-8000-00000000000a", "0b1f6c1e-0000-4000-8000-00000000000b"


class TestExpire:
    def test_the_beginning_of_an_id_is_enough(self, run: Run, daemon: FakeDaemon) -> None:
        over = {"id": "0b1f6c1f", "status": {"state": "expired"}}
        daemon.on("GET", "/api/v2/silences", Answer([{"id": A}, over]))
        daemon.on("DELETE", f"/api/v2/silence/{A}", Answer(raw=b""))
        assert run("silence", "expire", "0b1f").out == f"{A} is expired\n"

    def test_nothing_is_ended_when_one_is_ambiguous(self, run: Run, daemon: FakeDaemon) -> None:
        daemon.on("GET", "/api/v2/silences", Answer([{"id": A, "comment": "x"}, {"id": B}]))
        ran = run("silence", "expire", A, "0b1f")
        assert ran.code == 2
        assert f"'0b1f' matches 2 active or pending silences: {A} (x, -), {B} (-, -)" in ran.err
        assert {request.method for request in daemon.requests} == {"GET"}

    def test_each_is_ended(self, run: Run, daemon: FakeDaemon) -> None:
        for name in (A, B):
            daemon.on("DELETE", f"/api/v2/silence/{name}", Answer(raw=b""))
        assert run("silence", "expire", A, B).out == f"{A} is expired\n{B} is expired\n"

    def test_one_that_is_not_there_is_said(self, run: Run, daemon: FakeDaemon) -> None:
        daemon.on("DELETE", f"/api/v2/silence/{A}", Answer("there is no silence a", 404))
        ran = run("silence", "expire", A)
        assert (ran.code, ran.err) == (1, "nexusd: there is no silence a\n")
