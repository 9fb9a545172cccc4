"""`nexusd outbox list`, `outbox replay`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.daemon import Answer, FakeDaemon, error, page

ID = "msg_00000000000000000000000001"


def row(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": f"msg_{number:026}",
        "receiver": "ops",
        "state": "dead",
        "status": "firing",
        "group_key": '{}/{severity="critical"}:{alertname="RegionUnhealthy"}',
        "alerts": 3,
        "tries": 9,
        "created_at": "2030-01-31T12:00:00.000Z",
        "next_try_at": None,
        "expires_at": "2030-02-01T12:00:00.000Z",
        "ended_at": "2030-02-01T12:00:00.000Z",
        "last_error": "503: the receiver asked to try again",
    } | more


def test_a_message_is_one_line(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/v1/outbox", Answer(page([row(), row(2, alerts=1, state="sent", last_error=None)])))
    ran = run("outbox", "list", "--state", "dead")
    heading, first, second = ran.out.splitlines()
    assert heading.split()[:5] == ["ID", "RECEIVER", "STATE", "SAYS", "ABOUT"]
    assert 'dead   firing (3)  {alertname="RegionUnhealthy"}' in first
    assert "503: the receiver asked to try again" in first
    assert "firing      " in second
    assert daemon.requests[0].query["state"] == "dead"


def test_the_list_is_json_when_asked(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/v1/outbox", Answer(page([row()])))
    assert json.loads(run("outbox", "list", "-o", "json").out)["data"] == [row()]


def test_what_is_left_out_is_said(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/v1/outbox", Answer(page([row()], total=7)))
    assert "1 of 7 shown" in run("outbox", "list", "--limit", "1").err


def test_one_message_is_replayed(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", f"/api/v1/outbox/{ID}/replay", Answer(row(state="pending")))
    assert run("outbox", "replay", ID) == (
        0,
        f"{ID} is pending again\n",
        "",
    )


def test_all_are_replayed(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("POST", "/api/v1/outbox/replay", Answer({"replayed": 4}))
    assert run("outbox", "replay", "--all").out == "4 replayed\n"
    assert json.loads(run("outbox", "replay", "--all", "-o", "json").out) == {"replayed": 4}


@pytest.mark.parametrize("arguments", [(), ("msg_1", "--all")])
def test_either_an_id_or_all_is_needed(arguments: tuple[str, ...], run: Run, daemon: FakeDaemon) -> None:
    ran = run("outbox", "replay", *arguments)
    assert (ran.code, daemon.requests) == (2, [])
    assert "either an id or --all is needed" in ran.err


def test_a_refusal_is_one_line(run: Run, daemon: FakeDaemon) -> None:
    daemon.on(
        "POST",
        f"/api/v1/outbox/{ID}/replay",
        error(409, "CONFLICT", "msg_1 is sent"),
    )
    assert run("outbox", "replay", ID) == (1, "", "nexusd: msg_1 is sent\n")
