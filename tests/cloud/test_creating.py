"""`POST /instances`: sent exactly once, and what is known afterwards (I1). Every byte is recorded."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from nexusd.cloud import create
from nexusd.cloud.key import KeyFile, LiteralKey
from nexusd.cloud.refusals import RefusalRule, only
from nexusd.core.answers import MADE as MADE_KIND
from nexusd.core.answers import CreateAnswer, Created, CreateRequest, NotSent, Refused, Unknown
from nexusd.core.errors import UnauthorizedError
from tests.cloud.server import KEY, Cloud, Reply, Request, Respond, cloud, error, reply
from tests.virtual_time import VIRTUAL_EPOCH, in_virtual_time

ASKED = CreateRequest("worker-01", "us-east-1", "pro", "ubuntu-22.04", ("key_abc123",))
MADE = {"id": "inst_1", "name": "worker-01", "region": "us-east-1", "status": "pending"}
LATER = VIRTUAL_EPOCH + 10.0


def answering(answer: Reply) -> Respond:
    return lambda request: answer


async def create_once(c: Cloud, deadline: float = LATER) -> CreateAnswer:
    """Create, and see that no more than one request was sent, whatever came of it."""
    answer = await c.api.create_instance(ASKED, deadline)
    await asyncio.sleep(120.0)
    assert len([r for r in c.server.requests if r.method == "POST"]) <= 1
    return answer


def outcome(answer: Reply) -> CreateAnswer:
    @in_virtual_time
    async def scenario() -> CreateAnswer:
        async with cloud(answering(answer)) as c:
            came_of_it = await create_once(c)
            assert len(c.server.requests) == 1
            assert KEY not in repr(came_of_it)
            return came_of_it

    return scenario()


@in_virtual_time
async def test_the_request_is_the_documented_one() -> None:
    async with cloud(answering(reply(MADE, 201))) as c:
        await create_once(c)
        request = c.server.requests[0]
    assert (request.method, request.path) == ("POST", "/v1/instances")
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert json.loads(request.body) == {
        "name": "worker-01",
        "region": "us-east-1",
        "plan": "pro",
        "image": "ubuntu-22.04",
        "ssh_keys": ["key_abc123"],
    }


def test_an_answer_with_an_id_is_the_instance_with_what_it_leaves_out_filled_in() -> None:
    answer = outcome(reply({"id": "inst_1"}, 201))
    assert isinstance(answer, Created)
    assert answer.instance is not None
    assert (answer.instance.id, answer.instance.name, answer.instance.status) == (
        "inst_1",
        "worker-01",
        "pending",
    )
    assert (answer.instance.region, answer.instance.plan) == ("us-east-1", "pro")


def test_an_answer_without_an_id_is_a_creation_all_the_same() -> None:
    assert outcome(reply({"name": "worker-01", "region": "us-east-1", "plan": "pro"})) == Created(None)


@pytest.mark.parametrize(
    "answer",
    [
        Reply(302, b"", {"Location": "/v1/instances"}),
        Reply(307, b"", {"Location": "/v1/instances"}),
        Reply(308, b"", {"Location": "/v1/instances"}),
        error(408, "TIMEOUT"),
        error(500, "OOPS"),
        error(503, "INSUFFICIENT_CAPACITY", "none left"),
        Reply(502, b"<html>"),
        Reply(drop=True),
        Reply(raw=b"HTTP/1.1 20", close=True),
        Reply(raw=b"HTTP/1.1 500 No\r\nno colon\r\n\r\n", close=True),
        Reply(raw=b"HTTP/1.1 302 No\r\nX: " + b"y" * 1_000_000, close=True),
        Reply(raw=b"garbage\r\n\r\n", close=True),
        Reply(after_s=3600.0),
    ],
)
def test_whatever_else_comes_back_after_sending_is_unknown(answer: Reply) -> None:
    unknown = outcome(answer)
    assert isinstance(unknown, Unknown)
    assert unknown.kind != MADE_KIND


@pytest.mark.parametrize(
    "answer",
    [
        Reply(201, json.dumps(MADE).encode(), cut=10),
        Reply(201, json.dumps(MADE).encode()[:-5]),
        Reply(201, b""),
        Reply(204, b""),
        Reply(201, b"<html>"),
        Reply(201, b"[]"),
        Reply(201, b'{"id": "\xff"}'),
        Reply(201, b"x" * 5_000_000),
        Reply(201, b"[" * 100_000),
        Reply(201, json.dumps(MADE).encode(), drip_s=1.0),
        Reply(raw=b"HTTP/1.1 201 Created\r\nX: " + b"y" * 1_000_000, close=True),
        Reply(raw=b"HTTP/1.1 201 Created\r\n" + b"X: y\r\n" * 10_000, close=True),
        Reply(raw=b"HTTP/1.1 201 Created\r\nno colon\r\n\r\n", close=True),
        Reply(raw=b"HTTP/1.1 200 OK\r\n", close=True),
        Reply(
            raw=b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{",
            close=True,
        ),
        Reply(raw=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nno colon\r\n\r\n", close=True),
    ],
)
def test_an_unreadable_2xx_counts_as_made(answer: Reply) -> None:
    unknown = outcome(answer)
    assert isinstance(unknown, Unknown)
    assert unknown.kind == MADE_KIND


@pytest.mark.parametrize(
    "changes", [{"name": "WORKER-01"}, {"name": "another"}, {"region": "eu-west-2"}, {"id": 8}]
)
def test_a_2xx_with_an_id_is_that_instance_whatever_its_name_has_become(changes: dict[str, object]) -> None:
    created = outcome(reply({**MADE, **changes}, 201))
    assert isinstance(created, Created)
    assert created.instance is not None
    assert created.instance.id == str({**MADE, **changes}["id"])


def test_a_code_about_capacity_under_a_5xx_is_kept_as_the_reason() -> None:
    answer = outcome(error(503, "INSUFFICIENT_CAPACITY", "none left"))
    assert isinstance(answer, Unknown)
    assert "503 INSUFFICIENT_CAPACITY: none left" in answer.reason


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "scope"),
    [
        (422, "VALIDATION_ERROR", "name is too long", "rejected", "request"),
        (404, "NOT_FOUND", "", "rejected", "request"),
        (409, "INSUFFICIENT_CAPACITY", "", "capacity", "region"),
        (400, "no_capacity_left", "", "capacity", "region"),
        (422, "REGION_UNAVAILABLE", "", "unavailable", "region"),
        (403, "QUOTA_EXCEEDED", "no more pro in us-east-1", "quota", "region"),
        (403, "QUOTA_EXCEEDED", "no more instances", "quota", "account"),
        (401, "UNAUTHORIZED", "", "auth", "account"),
        (403, "FORBIDDEN", "", "auth", "account"),
        (429, "RATE_LIMITED", "", "throttled", "account"),
    ],
)
def test_a_refusal_is_classified(status: int, code: str, message: str, kind: str, scope: str) -> None:
    answer = outcome(error(status, code, message))
    assert isinstance(answer, Refused)
    assert (answer.status, answer.code, answer.message) == (status, code, message)
    assert (answer.kind, answer.scope) == (kind, scope)


@pytest.mark.parametrize("answer", [Reply(401, b""), Reply(401, b"<html>"), Reply(401, b'{"error"', cut=3)])
def test_a_401_counts_by_its_status_when_its_body_says_nothing(answer: Reply) -> None:
    refused = outcome(answer)
    assert isinstance(refused, Refused)
    assert (refused.kind, refused.code) == ("auth", "")


@pytest.mark.parametrize("answer", [Reply(400, b""), Reply(409, b"<html>"), error(422, "X", "y" * 99)])
def test_a_4xx_that_is_not_the_documented_error_leaves_it_in_doubt(answer: Reply) -> None:
    assert isinstance(outcome(replace(answer, cut=min(len(answer.body), 40))), Unknown)


@in_virtual_time
async def test_rows_from_the_configuration_come_before_the_table() -> None:
    mine = RefusalRule("unavailable", "region", only(422), "MAINTENANCE*")
    async with cloud(answering(error(422, "MAINTENANCE_TODAY")), refusals=(mine,)) as c:
        answer = await create_once(c)
    assert isinstance(answer, Refused)
    assert answer.kind == "unavailable"


@in_virtual_time
async def test_a_429_holds_the_whole_api_back() -> None:
    async with cloud(answering(error(429, "SLOW", Retry_After="40"))) as c:
        first = await c.api.create_instance(ASKED, LATER)
        second = await c.api.create_instance(ASKED, LATER)
    assert isinstance(first, Refused)
    assert first.retry_after_s == 40.0
    assert isinstance(second, NotSent)
    assert len(c.server.requests) == 1


@in_virtual_time
async def test_an_open_circuit_lets_no_create_out() -> None:
    async with cloud(answering(error(500, "OOPS")), circuit_failures=1) as c:
        assert isinstance(await c.api.create_instance(ASKED, LATER), Unknown)
        assert isinstance(await c.api.create_instance(ASKED, LATER), NotSent)
    assert len(c.server.requests) == 1


@in_virtual_time
async def test_a_refused_connection_is_definitely_not_sent() -> None:
    async with cloud(answering(Reply())) as c:
        pass
    async with cloud(answering(Reply()), base_url=c.server.base_url) as other:
        answer = await create_once(other)
    assert isinstance(answer, NotSent)
    assert "connect" in answer.reason


@in_virtual_time
async def test_a_connection_that_is_never_accepted_is_definitely_not_sent() -> None:
    with socket.socket() as deaf, socket.socket() as first:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        first.connect(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        async with cloud(answering(Reply()), base_url=url, connect_timeout_s=2.0) as c:
            assert isinstance(await create_once(c), NotSent)


@in_virtual_time
async def test_without_a_key_nothing_is_sent(tmp_path_factory: pytest.TempPathFactory) -> None:
    missing = tmp_path_factory.mktemp("keys") / "no-such-key"
    async with cloud(answering(reply(MADE)), key=KeyFile(missing)) as c:
        answer = await create_once(c)
    assert isinstance(answer, NotSent)
    assert str(missing) in answer.reason
    assert not c.server.received


@in_virtual_time
async def test_after_closing_nothing_is_sent() -> None:
    async with cloud(answering(reply(MADE))) as c:
        await c.api.close()
        assert isinstance(await create_once(c), NotSent)


@in_virtual_time
async def test_a_name_that_is_no_unicode_is_not_sent() -> None:
    async with cloud(answering(reply(MADE))) as c:
        bad = CreateRequest("\ud800", "us-east-1", "pro", "ubuntu-22.04")
        assert isinstance(await c.api.create_instance(bad, LATER), NotSent)


# the deadline


@pytest.mark.parametrize("late_by_s", [0.0, 5.0])
def test_after_the_deadline_not_a_byte_is_sent(late_by_s: float) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with cloud(answering(reply(MADE))) as c:
            await asyncio.sleep(10.0 + late_by_s)
            assert isinstance(await create_once(c), NotSent)
            assert not any(c.server.received)

    scenario()


def passes_while_connecting(c: Cloud) -> None:
    """The deadline passes after the connection was made and before the first byte: the loop was blocked."""
    open_session = c.api._http._open_session

    def open_slowly(*arguments: Any) -> aiohttp.ClientSession:
        session = open_session(*arguments)
        connector = session.connector
        assert connector is not None
        connect = connector.connect

        async def late(*args: object, **kwargs: object) -> object:
            connection = await connect(*args, **kwargs)  # type: ignore[arg-type]
            c.clock._epoch += 60.0
            return connection

        connector.connect = late  # type: ignore[assignment,method-assign]
        return session

    c.api._http._open_session = open_slowly  # type: ignore[method-assign]


@in_virtual_time
async def test_a_deadline_that_passes_just_before_the_first_byte_still_stops_it() -> None:
    async with cloud(answering(reply(MADE))) as c:
        passes_while_connecting(c)
        answer = await create_once(c)
        assert isinstance(answer, NotSent)
        assert [bytes(b) for b in c.server.received] == [b""]


@in_virtual_time
async def test_without_the_guard_those_bytes_would_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(create.SendGuard, "open", lambda guard: setattr(guard, "sent", True))
    async with cloud(answering(reply(MADE))) as c:
        passes_while_connecting(c)
        await create_once(c)
        assert b"POST /v1/instances" in c.server.received[0]


@in_virtual_time
async def test_no_byte_of_the_request_precedes_the_guard() -> None:
    seen: list[list[bytes]] = []
    async with cloud(answering(reply(MADE))) as c:

        def look() -> float:
            seen.append([bytes(b) for b in c.server.received])
            return VIRTUAL_EPOCH

        c.api._clock.now = look  # type: ignore[method-assign]
        assert isinstance(await c.api.create_instance(ASKED, LATER), Created)
    assert all(not any(received) for received in seen)


def test_the_guard_lets_a_request_out_once() -> None:
    guard = create.SendGuard(lambda: 0.0, deadline=1.0)
    guard.open()
    with pytest.raises(TimeoutError):
        guard.open()


def test_a_shut_guard_lets_nothing_out() -> None:
    guard = create.SendGuard(lambda: 0.0, deadline=1.0)
    guard.shut()
    with pytest.raises(TimeoutError):
        guard.open()
    assert not guard.sent


@in_virtual_time
async def test_the_answer_is_not_awaited_past_the_deadline() -> None:
    async with cloud(answering(Reply(after_s=3600.0)), timeout_s=300.0) as c:
        assert isinstance(await c.api.create_instance(ASKED, LATER), Unknown)
        assert c.clock.now() == pytest.approx(LATER, abs=0.01)


@in_virtual_time
@pytest.mark.parametrize("forgets", [True, False])
async def test_bytes_that_did_not_arrive_before_the_deadline_never_arrive(
    forgets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver reads a part of the request; the rest is in the sender's kernel when the create ends."""
    if not forgets:
        monkeypatch.setattr(
            create, "forgetful_socket", lambda _timeout_s, address: socket.socket(*address[:3])
        )
    long = replace(ASKED, ssh_keys=tuple(f"key_{number:06d}" for number in range(600)))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        async with cloud(answering(Reply()), base_url=url) as c:
            assert isinstance(await c.api.create_instance(long, LATER), Unknown)
        connection, _ = listener.accept()
        received = bytearray()
        with connection, suppress(ConnectionResetError):
            connection.settimeout(10.0)
            while chunk := connection.recv(65_536):
                received += chunk
    assert (b"key_000599" in received) is not forgets


@in_virtual_time
async def test_a_turn_that_does_not_come_before_the_deadline_is_not_sent() -> None:
    async with cloud(answering(reply(MADE)), max_requests_per_second=0.01) as c:
        assert isinstance(await c.api.create_instance(ASKED, LATER), Created)
        assert isinstance(await c.api.create_instance(ASKED, LATER), NotSent)


@in_virtual_time
async def test_a_cancelled_create_is_cancelled_and_sends_nothing_afterwards() -> None:
    async with cloud(answering(Reply(after_s=60.0))) as c:
        task = asyncio.ensure_future(c.api.create_instance(ASKED, LATER))
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(100.0)
        assert len(c.server.requests) == 1


@in_virtual_time
async def test_each_create_has_a_connection_of_its_own() -> None:
    async with cloud(answering(reply(MADE))) as c:
        for _ in range(3):
            await c.api.create_instance(ASKED, LATER)
    assert [r.connection for r in c.server.requests] == [0, 1, 2]


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: f"{m}\nnot logged in"])
def test_a_key_that_the_api_quotes_is_taken_out(wrap: Callable[[str], str]) -> None:
    body = {"error": {"code": "BAD", "message": wrap(f"key {KEY} is bad"), "details": [{"key": KEY}]}}
    answer = outcome(reply(body, 401))
    assert isinstance(answer, Refused)
    assert "[key]" in answer.message
    assert "\n" not in answer.message
    assert answer.details == '[{"key":"[key]"}]'


@pytest.mark.parametrize("key", [KEY, 'a"quoted\\key'])
@pytest.mark.parametrize("before", range(490, 500))
def test_a_quoted_key_is_taken_out_before_the_text_is_cut(key: str, before: int) -> None:
    said = "x" * before + key
    body = {"error": {"code": "BAD", "message": said, "details": [said]}}

    @in_virtual_time
    async def scenario() -> CreateAnswer:
        async with cloud(answering(reply(body, 401)), key=LiteralKey(key)) as c:
            return await create_once(c)

    answer = scenario()
    assert isinstance(answer, Refused)
    assert key[:3] not in answer.message + answer.details


@in_virtual_time
async def test_creates_are_counted_by_status_and_by_reason() -> None:
    def respond(request: Request) -> Reply:
        return reply(MADE, 201) if len(c.server.requests) == 1 else Reply(drop=True)

    async with cloud(respond) as c:
        await c.api.create_instance(ASKED, LATER)
        await c.api.create_instance(ASKED, LATER)
    assert c.metrics.counts["api_request", "/instances", "POST", "201"] == 1
    assert c.metrics.counts["api_request", "/instances", "POST", "reset"] == 1


def answer_by(statuses: dict[str, int]) -> Respond:
    """Answer a GET with the status for its path, a POST with the instance made."""

    def respond(request: Request) -> Reply:
        if request.method == "POST":
            return reply(MADE, 201)
        status = statuses[request.path.removeprefix("/v1")]
        body = {"regions": [], "data": [], "meta": {"total": 0, "limit": 100, "offset": 0}}
        return reply(body) if status == 200 else error(status, "UNAUTHORIZED")

    return respond


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("path", ["/regions", "/instances"])
def test_no_create_is_sent_while_the_key_is_refused_for_reading(path: str, status: int) -> None:
    @in_virtual_time
    async def scenario() -> None:
        statuses = {"/regions": 200, "/instances": 200, path: status}
        async with cloud(answer_by(statuses)) as c:
            polls = {"/regions": c.api.read_regions, "/instances": c.api.sweep_instances}
            for poll in polls.values():
                with suppress(UnauthorizedError):
                    await poll()
            answer = await c.api.create_instance(ASKED, LATER)
            assert answer == NotSent(f"POST /instances: CloudNexus refuses the key for GET {path}")
            assert not [r for r in c.server.requests if r.method == "POST"]
            statuses[path] = 200
            await polls[path]()
            assert isinstance(await c.api.create_instance(ASKED, LATER), Created)

    scenario()


@in_virtual_time
async def test_a_key_that_is_refused_while_the_create_connects_stops_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The refusal is checked directly before the first byte, not only when the create begins."""
    statuses = {"/regions": 401}
    async with cloud(answer_by(statuses)) as c:
        begin = create.post_once

        async def refused_meanwhile(*args: Any) -> create.Post:
            with suppress(UnauthorizedError):
                await c.api.read_regions()
            return await begin(*args)

        monkeypatch.setattr("nexusd.cloud.client.post_once", refused_meanwhile)
        answer = await c.api.create_instance(ASKED, LATER)
        assert answer == NotSent("POST /instances: CloudNexus refuses the key for GET /regions")
        assert not [r for r in c.server.requests if r.method == "POST"]
