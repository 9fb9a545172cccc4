"""`/api/v1/outbox`: what is shown of a message, and what may be replayed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from nexusd.core.errors import StoreUnavailableError
from nexusd.ports import OutboxMessage
from tests.web.fakes import NOW
from tests.web.site import Site

ALERTS = [{"status": "firing"}, {"status": "firing"}]
BODY = json.dumps({"status": "firing", "groupKey": '{}:{alertname="A"}', "alerts": ALERTS}).encode()
PENDING = OutboxMessage(
    "msg_1", "ops", BODY, NOW - 60, NOW + 600, tries=2, next_try_at=NOW + 30, last_error="503: busy"
)
SENT = replace(PENDING, id="msg_2", state="sent", ended_at=NOW - 5, last_error=None)
DEAD = replace(PENDING, id="msg_3", state="dead", ended_at=NOW - 5)
ORPHAN = replace(DEAD, id="msg_4", receiver="removed")


@pytest.fixture
async def full() -> AsyncIterator[Site]:
    """A site with one message of each state, and one for a receiver that is no more."""
    site = Site()
    site.store.outbox.put(PENDING, SENT, DEAD, ORPHAN)
    async with site.running(receivers=("ops", "web")) as running:
        yield running


async def test_a_message_is_listed_with_what_it_says_and_what_became_of_it(full: Site) -> None:
    answer = await full.get("/api/v1/outbox?state=pending")
    assert answer.json == {
        "data": [
            {
                "id": "msg_1",
                "receiver": "ops",
                "state": "pending",
                "status": "firing",
                "group_key": '{}:{alertname="A"}',
                "alerts": 2,
                "tries": 2,
                "created_at": "2023-11-14T22:12:20.000Z",
                "next_try_at": "2023-11-14T22:13:50.000Z",
                "expires_at": "2023-11-14T22:23:20.000Z",
                "ended_at": None,
                "last_error": "503: busy",
            }
        ],
        "meta": {"total": 1, "limit": 20, "offset": 0},
    }


async def test_what_has_ended_has_no_next_try(full: Site) -> None:
    rows = (await full.get("/api/v1/outbox")).json["data"]
    assert [row["id"] for row in rows] == ["msg_4", "msg_3", "msg_2", "msg_1"]
    assert [row["next_try_at"] is None for row in rows] == [True, True, True, False]


async def test_an_unknown_state_is_named(full: Site) -> None:
    answer = await full.get("/api/v1/outbox?state=late")
    assert (answer.status, answer.fields) == (400, ["state"])


async def test_one_message_comes_with_its_body(full: Site) -> None:
    shown = (await full.get("/api/v1/outbox/msg_3")).json
    assert shown["body"]["alerts"] == ALERTS
    assert shown["state"] == "dead"


async def test_a_body_that_is_no_json_is_shown_as_none(full: Site) -> None:
    full.store.outbox.put(replace(DEAD, body=b"\xff"))
    shown = (await full.get("/api/v1/outbox/msg_3")).json
    assert (shown["body"], shown["status"], shown["alerts"]) == (None, None, 0)


@pytest.mark.parametrize("path", ["msg_9", "msg%00", "%ed%a0%80", "x" * 65])
async def test_a_message_that_does_not_exist_is_a_404(full: Site, path: str) -> None:
    assert (await full.get(f"/api/v1/outbox/{path}")).status == 404
    assert (await full.post(f"/api/v1/outbox/{path}/replay", {})).status == 404


async def test_a_dead_message_is_replayed_and_its_receiver_woken(full: Site) -> None:
    answer = await full.post("/api/v1/outbox/msg_3/replay", {})
    assert (answer.status, answer.json["state"]) == (200, "pending")
    assert full.store.outbox.rows["msg_3"].next_try_at == NOW
    assert full.daemon.replays == [{"ops"}]


@pytest.mark.parametrize(
    ("which", "reason"),
    [
        ("msg_1", "msg_1 is pending; only dead messages are replayed"),
        ("msg_2", "msg_2 is sent; only dead messages are replayed"),
        ("msg_4", "msg_4 is for removed, and there is no such receiver"),
    ],
)
async def test_what_cannot_be_replayed_is_a_409_with_the_reason(full: Site, which: str, reason: str) -> None:
    answer = await full.post(f"/api/v1/outbox/{which}/replay", {})
    assert (answer.status, answer.error["message"]) == (409, reason)
    assert full.daemon.replays == []


async def test_all_dead_messages_that_somebody_takes_are_replayed(full: Site) -> None:
    answer = await full.post("/api/v1/outbox/replay", {})
    assert answer.json == {"replayed": 1}
    assert full.store.outbox.rows["msg_4"].state == "dead"
    assert full.daemon.replays == [{"ops", "web"}]


async def test_a_replay_needs_no_body(full: Site) -> None:
    assert (await full.ask("POST", "/api/v1/outbox/replay", skip_auto_headers=["Content-Type"])).status == 200


async def test_while_the_store_is_away_it_is_a_503(full: Site) -> None:
    full.store.error = StoreUnavailableError("disk full")
    for method, path in (("GET", ""), ("GET", "/msg_1"), ("POST", "/replay"), ("POST", "/msg_3/replay")):
        assert (await full.ask(method, f"/api/v1/outbox{path}", json={})).status == 503
