"""The webhook receiver against real servers: what is sent, how answers are read, what is never said."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from nexusd import __version__
from nexusd.core.errors import InputError
from nexusd.delivery.exchange import Answer
from nexusd.delivery.http import HttpOptions, judge
from nexusd.delivery.webhook import WebhookOptions, WebhookReceiver
from nexusd.ports import Delivery, OutboxMessage
from tests.delivery.receivers import Endpoint, endpoint, hang, message, status
from tests.virtual_time import VirtualClock, in_virtual_time

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@asynccontextmanager
async def receiver(url: str, secrets: tuple[str, ...] = (), **options: Any) -> AsyncIterator[WebhookReceiver]:
    made = WebhookReceiver(WebhookOptions("ops", HttpOptions(url, **options), secrets), VirtualClock())
    try:
        yield made
    finally:
        await made.close()


async def sent(far_end: Endpoint, row: OutboxMessage | None = None, **options: Any) -> Delivery:
    async with receiver(far_end.url, **options) as ops:
        return await ops.send(row or message())


@in_virtual_time
async def test_it_posts_the_body_as_it_is_with_its_id() -> None:
    async with endpoint() as far_end:
        assert await sent(far_end) == Delivery("delivered", "200")
        (got,) = far_end.got
        assert got.body == message().body
        assert got.headers["webhook-id"] == "msg_000001"
        assert got.headers["Content-Type"] == "application/json"
        assert got.headers["User-Agent"] == f"nexusd/{__version__}"
        assert "webhook-signature" not in got.headers


@in_virtual_time
async def test_headers_and_authorization_are_sent() -> None:
    async with endpoint() as far_end:
        await sent(far_end, headers={"X-Team": "infra", "user-agent": "mine"}, authorization="Bearer t0k")
        headers = far_end.got[0].headers
        found = (headers["X-Team"], headers["User-Agent"], headers["Authorization"])
        assert found == ("infra", "mine", "Bearer t0k")


@pytest.mark.parametrize(
    "target",
    [
        "/x?sp=%2Ftriggers%2Fmanual&sig=a%2Bb%2Fc%3D",
        "/x?t=%7e%41&u=%c3%a4",
        "/x/%61%2fb",
        "/a/./b/../c//",
        "/x?",
        "/x?a=b?c&&=",
        "/x?a+b%20c",
    ],
)
@in_virtual_time
async def test_a_url_is_sent_exactly_as_configured(target: str) -> None:
    async with endpoint() as far_end:
        origin = far_end.url.removesuffix("/hook")
        async with receiver(f"{origin}{target}#part") as ops:
            await ops.send(message())
        assert far_end.got[0].target == target


@in_virtual_time
async def test_user_and_password_in_the_url_are_basic_authorization() -> None:
    async with endpoint() as far_end:
        async with receiver(far_end.url.replace("http://", "http://joe:s%20s@")) as ops:
            await ops.send(message())
        encoded = base64.b64encode(b"joe:s s").decode()
        assert far_end.got[0].headers["Authorization"] == f"Basic {encoded}"


@in_virtual_time
async def test_the_signature_is_that_of_the_specification() -> None:
    async with endpoint() as far_end:
        await sent(far_end, secrets=(SECRET,))
        headers, body = far_end.got[0].headers, far_end.got[0].body
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"


def test_the_specification_has_this_example() -> None:
    """Standard Webhooks, verifying webhooks: the worked example."""
    webhook = Webhook(SECRET)
    signature = webhook.sign(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", datetime.fromtimestamp(1614265330, UTC), '{"test": 2432232314}'
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@in_virtual_time
async def test_while_rotating_there_is_a_signature_for_each_secret() -> None:
    async with endpoint() as far_end:
        await sent(far_end, secrets=(SECRET, "an old one"))
        new, old = far_end.got[0].headers["webhook-signature"].split(" ")
        assert new != old
        headers, body = far_end.got[0].headers, far_end.got[0].body
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = hmac.new(b"an old one", signed, hashlib.sha256).digest()
        assert old == f"v1,{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!"])
def test_a_secret_that_cannot_be_used_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(InputError) as raised:
        WebhookReceiver(WebhookOptions("ops", HttpOptions("https://example.com/"), (secret,)), NoClock())
    assert "not base64!" not in str(raised.value)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(200, "delivered"), (204, "delivered"), (302, "rejected"), (404, "rejected"), (410, "gone")]
    + [(code, "retry") for code in (408, 425, 429, 500, 503)],
)
def test_the_retry_table(code: int, outcome: str) -> None:
    delivery = judge(Answer(code), 0.0)
    assert (delivery.outcome, delivery.code) == (outcome, str(code))


@in_virtual_time
async def test_a_redirect_is_not_followed() -> None:
    async with endpoint() as other, endpoint(status(307, Location=other.url)) as far_end:
        assert (await sent(far_end)).outcome == "rejected"
        assert other.got == []


@in_virtual_time
async def test_retry_after_is_passed_on_clamped() -> None:
    async with endpoint(status(503, Retry_After="7200")) as far_end:
        assert (await sent(far_end)).retry_after_s == 300.0


@in_virtual_time
async def test_no_answer_in_time_is_a_time_out() -> None:
    async with endpoint(hang) as far_end:
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        delivery = await sent(far_end, timeout_s=10.0)
        assert (delivery.outcome, delivery.code) == ("retry", "timeout")
        assert loop.time() - began_at == pytest.approx(10.0, abs=0.1)


@in_virtual_time
async def test_an_endless_answer_is_read_to_64_kilobytes() -> None:
    written = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        while written < 50_000_000:
            await response.write(b"x" * 65536)
            written += 65536
        return response

    async with endpoint(endless) as far_end:
        assert (await sent(far_end)).outcome == "delivered"
        assert written < 20_000_000


@in_virtual_time
async def test_an_answer_that_drips_for_ever_counts_by_its_status() -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b"x")
            await asyncio.sleep(1.0)
        return response

    async with endpoint(drip) as far_end:
        assert await sent(far_end) == Delivery("delivered", "200")


@in_virtual_time
async def test_a_connection_that_is_refused_or_lost_is_tried_again() -> None:
    async def drop(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with receiver(f"http://127.0.0.1:{unused_port()}/") as ops:
        refused = await ops.send(message())
    assert (refused.outcome, refused.code) == ("retry", "connect")
    async with endpoint(drop) as far_end:
        lost = await sent(far_end)
    assert (lost.outcome, lost.code) == ("retry", "reset")


@in_virtual_time
async def test_a_connection_is_used_again() -> None:
    ports = []

    async def note(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.Response(text="thank you")

    async with endpoint(note) as far_end, receiver(far_end.url) as ops:
        for number in range(3):
            assert (await ops.send(message(number))).outcome == "delivered"
    assert len(set(ports)) == 1


@in_virtual_time
async def test_a_connection_whose_answer_was_not_read_to_its_end_is_not_used_again() -> None:
    ports = []

    async def chatty(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.Response(text="x" * 100_000)

    async with endpoint(chatty) as far_end, receiver(far_end.url) as ops:
        for number in range(3):
            assert (await ops.send(message(number))).outcome == "delivered"
    assert len(set(ports)) == 3


async def said_by(*lines: bytes) -> Delivery:
    """What comes of a message to whom answers so, whatever it is asked."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(b"".join(lines))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with receiver(f"http://127.0.0.1:{port}/") as ops:
            return await ops.send(message())


@in_virtual_time
async def test_an_informational_answer_is_not_the_answer() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    assert (await said_by(early, b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")).code == "503"


@in_virtual_time
async def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    assert await said_by(b"HTTP/1.0 200 OK\r\n\r\nwell") == Delivery("delivered", "200")


@in_virtual_time
async def test_headers_without_end_are_not_read() -> None:
    assert (await said_by(b"HTTP/1.1 503 No\r\n" + b"X: y\r\n" * 100_000)).code == "invalid"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Security-Policy: " + b"a" * 100_000 + b"\r\nRetry-After: 7\r\n\r\n",
        b"X: y\r\n" * 400 + b"Retry-After: 7\r\n\r\n",
    ],
)
@in_virtual_time
async def test_large_headers_are_read(headers: bytes) -> None:
    delivery = await said_by(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n" + headers)
    assert (delivery.code, delivery.retry_after_s) == ("503", 7.0)


@pytest.mark.parametrize(
    "rest",
    [
        b"X: y\r\n" * 100_000,
        b"X: " + b"y" * 1_000_000,
        b"no colon\r\n\r\n",
        b"Content-Length: many\r\n\r\n",
        b"Date: x\r\n",
        b"",
    ],
)
@in_virtual_time
async def test_a_2xx_status_line_counts_whatever_follows_it(rest: bytes) -> None:
    assert await said_by(b"HTTP/1.1 204 No Content\r\n" + rest) == Delivery("delivered", "204")


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 302 X\r\n", b"HTTP/1.1 2000 X\r\n", b"SSH-2.0 200 \r\n", b"HTTP/1.1 20"]
)
@in_virtual_time
async def test_only_a_complete_2xx_status_line_counts(line: bytes) -> None:
    assert (await said_by(line + b"X: " + b"y" * 200_000)).outcome == "retry"


@in_virtual_time
async def test_a_connection_is_not_reused_after_a_minute() -> None:
    ports = []

    async def note_port(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.Response()

    async with endpoint(note_port) as far_end, receiver(far_end.url) as ops:
        for number in range(14):
            assert (await ops.send(message(number))).outcome == "delivered"
            await asyncio.sleep(10.0)
    assert [ports.count(port) for port in dict.fromkeys(ports)] == [7, 7]


@in_virtual_time
async def test_a_retry_after_date_is_measured_from_the_date_of_the_response() -> None:
    dates = b"Date: Tue, 14 Nov 2023 22:14:18 GMT\r\nRetry-After: Tue, 14 Nov 2023 22:14:20 GMT\r\n"
    delivery = await said_by(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n" + dates + b"\r\n")
    assert delivery.retry_after_s == 2.0


@pytest.mark.parametrize("headers", [{"X-A": "b\r\nX-C: d"}, {"X-A\nX-B": "c"}, {"X-A": "\0"}])
def test_a_header_with_a_line_break_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InputError, match="line break"):
        WebhookReceiver(WebhookOptions("ops", HttpOptions("https://example.com/", headers)), NoClock())


@in_virtual_time
async def test_what_is_not_tls_is_said_to_be_a_tls_failure() -> None:
    async with endpoint() as far_end:
        async with receiver(far_end.url.replace("http:", "https:")) as ops:
            delivery = await ops.send(message())
        assert (delivery.outcome, delivery.code) == ("retry", "tls")


@in_virtual_time
async def test_what_is_not_http_is_tried_again() -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with receiver(f"http://127.0.0.1:{port}/") as ops:
            assert (await ops.send(message())).outcome == "retry"


@in_virtual_time
async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port()}")
    async with endpoint() as far_end:
        assert (await sent(far_end)).outcome == "delivered"


@in_virtual_time
async def test_cookies_are_not_kept() -> None:
    async with endpoint(status(200, Set_Cookie="a=b")) as far_end:
        async with receiver(far_end.url) as ops:
            await ops.send(message())
            await ops.send(message(2))
        assert "Cookie" not in far_end.got[1].headers


@in_virtual_time
async def test_nothing_of_the_url_or_the_secrets_is_in_what_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    port = unused_port()
    url = f"http://joe:hunter2@127.0.0.1:{port}/s3cret/path"
    options = WebhookOptions("ops", HttpOptions(url, {"X-Key": "k3y"}, "Bearer t0k"), (SECRET,))
    ops = WebhookReceiver(options, VirtualClock())
    delivery = await ops.send(message())
    await ops.close()
    said = repr(options) + repr(delivery) + str(capsys.readouterr())
    for part in ("hunter2", "127.0.0.1", str(port), "s3cret", "whsec", "k3y", "t0k", "joe"):
        assert part not in said


@pytest.mark.parametrize("url", ["", "ftp://example.com/", "https://", "/path", "http://[::1", "//host/x"])
def test_a_url_that_cannot_work_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(InputError) as raised:
        WebhookReceiver(WebhookOptions("ops", HttpOptions(url)), NoClock())
    assert not url or url not in str(raised.value)


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class NoClock:
    """ports.Clock for what never asks."""

    def now(self) -> float:
        raise AssertionError

    def utc_offset_s(self) -> float:
        raise AssertionError
