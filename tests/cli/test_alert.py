"""`nexusd alert test`."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.conftest import Run
from tests.cli.daemon import Answer, FakeDaemon, error

PATH = "/api/v1/alerts/test"


def row(receiver: str = "ops", **more: Any) -> dict[str, Any]:
    known = {"receiver": receiver, "type": "webhook", "delivered": True, "code": "200"}
    return known | {"error": None, "duration_s": 0.0123} | more


def test_each_answer_is_a_line(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", PATH, Answer({"data": [row(), row("pulse", type="heartbeat", code="204")]}))
    ran = run("alert", "test")
    assert (ran.code, ran.err) == (0, "")
    assert [line.split() for line in ran.out.splitlines()] == [
        ["RECEIVER", "TYPE", "DELIVERED", "CODE", "MS", "ERROR"],
        ["ops", "webhook", "yes", "200", "12", "-"],
        ["pulse", "heartbeat", "yes", "204", "12", "-"],
    ]
    assert daemon.requests[0].body == {}


def test_one_that_fails_is_told_and_makes_the_command_fail(run: Run, daemon: FakeDaemon) -> None:
    refused = row("web", delivered=False, code="503", error="the receiver asked to try again")
    daemon.on("POST", PATH, Answer({"data": [row(), refused]}))
    ran = run("alert", "test")
    assert (ran.code, ran.err) == (1, "nexusd: 1 of 2 failed\n")
    assert "the receiver asked to try again" in ran.out


def test_one_receiver_can_be_named(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", PATH, Answer({"data": [row()]}))
    assert run("alert", "test", "ops").code == 0
    assert daemon.requests[0].body == {"receiver": "ops"}


def test_an_unknown_one_is_one_line(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", PATH, error(404, "NOT_FOUND", "there is no receiver x; there are ops"))
    assert run("alert", "test", "x") == (1, "", "nexusd: there is no receiver x; there are ops\n")


def test_json_is_what_the_daemon_said_also_of_a_failure(run: Run, daemon: FakeDaemon) -> None:
    answer = {"data": [row(delivered=False, code="dns", error="the name does not resolve")]}
    daemon.on("POST", PATH, Answer(answer))
    ran = run("alert", "test", "-o", "json")
    assert (ran.code, json.loads(ran.out)) == (1, answer)


def test_no_receiver_at_all_is_a_failure(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", PATH, Answer({"data": []}))
    assert run("alert", "test") == (1, "", "nexusd: no receiver is configured\n")
