"""Nothing a client sends ends in a 500, and every refusal has CloudNexus's error shape."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexusd.core.errors import NexusdError
from nexusd.web.answers import errors_as_answers
from tests.effort import examples
from tests.web.site import BODY, Site

JSON = {"Content-Type": "application/json"}


async def test_an_unknown_path_is_a_404(site: Site) -> None:
    answer = await site.get("/api/v1/nothing")
    assert (answer.status, answer.error["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/v1/placements", "GET,HEAD,POST"),
        ("POST", "/api/v1/regions", "GET,HEAD"),
        ("DELETE", "/api/v1/status", "GET,HEAD"),
        ("GET", "/api/v1/plan", "POST"),
        ("GET", "/-/reload", "POST"),
        ("OPTIONS", "/api/v1/placements", "GET,HEAD,POST"),
        ("PATCH", "/metrics", "GET,HEAD"),
    ],
)
async def test_another_method_is_a_405_that_says_what_is_taken(
    site: Site, method: str, path: str, allowed: str
) -> None:
    answer = await site.ask(method, path)
    assert (answer.status, answer.error["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["Allow"].replace(" ", "") == allowed


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/status", "/api/v1/instances"]
)
async def test_head_answers_like_get_without_a_body(site: Site, path: str) -> None:
    answer = await site.ask("HEAD", path)
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 0


UNASKED = ("/-/reload", "/api/v1/outbox/replay", "/api/v1/outbox/msg_1/replay")
"""Where no body is asked for."""


@pytest.mark.parametrize("path", ["/api/v1/placements", "/api/v1/plan", *UNASKED])
@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_over_one_mebibyte_is_a_413(site: Site, path: str, chunked: bool) -> None:
    async def pieces() -> Any:
        for _ in range(17):
            yield b" " * 65_536

    body = pieces() if chunked else io.BytesIO(b" " * (1024 * 1024 + 1))
    answer = await site.ask("POST", path, data=body, headers=JSON)
    assert (answer.status, answer.error["code"]) == (413, "REQUEST_ENTITY_TOO_LARGE")


async def test_a_body_of_just_one_mebibyte_is_read(site: Site) -> None:
    text = json.dumps(BODY).encode()
    answer = await site.ask(
        "POST", "/api/v1/placements", data=text + b" " * (1024 * 1024 - len(text)), headers=JSON
    )
    assert answer.status == 202


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/octet-stream"},
        {"Content-Type": "application/xml"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "nonsense"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
    ids=str,
)
async def test_what_is_not_plain_json_is_a_415(site: Site, headers: dict[str, str]) -> None:
    body = gzip.compress(json.dumps(BODY).encode()) if "Content-Encoding" in headers else json.dumps(BODY)
    answer = await site.ask("POST", "/api/v1/placements", data=body, headers=headers)
    assert (answer.status, answer.error["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"NaN",
        b'{"name": NaN}',
        b'{"name": "a", "plan": "pro", "priority": Infinity}',
        b'{"name": "a", "plan": "pro", "priority": 1e999}',
        b'{"name": "a", "plan": "pro", "priority": ' + b"9" * 10_000 + b"}",
        b'{"name": "\\ud800", "plan": "pro"}',
        b'{"\\ud800": 1}',
        b'{"name": "\xed\xa0\x80", "plan": "pro"}',
        b'{"name": "\xff", "plan": "pro"}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"name": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"name": "a", "plan": "pro", "' + b"x" * 100_000 + b'": 1}',
        b'{"name": "a", "plan": "pro", "\\u0000\\u202e": 1}',
    ],
    ids=lambda body: repr(body[:24]),
)
async def test_a_body_that_makes_no_sense_is_a_400(site: Site, body: bytes) -> None:
    answer = await site.ask("POST", "/api/v1/placements", data=body, headers=JSON)
    assert (answer.status, answer.error["code"]) == (400, "VALIDATION_ERROR")
    assert len(answer.error["message"]) < 1000
    assert "\u202e" not in answer.error["message"]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = st.sampled_from(
    [
        "name",
        "plan",
        "image",
        "ssh_keys",
        "regions",
        "avoid_regions",
        "where",
        "spread",
        "priority",
        "deadline",
    ]
)
_BODIES = st.binary(max_size=60) | st.builds(
    lambda changes: json.dumps(BODY | changes).encode(),
    st.dictionaries(_FIELDS | st.text(), _VALUES, max_size=4),
)


@settings(
    max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=_BODIES)
async def test_no_body_whatever_is_a_500(site: Site, body: bytes) -> None:
    for path in ("/api/v1/placements", "/api/v1/plan"):
        answer = await site.ask("POST", path, data=body, headers=JSON)
        assert answer.status in (200, 202, 400), (body, answer.text)


@settings(
    max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    path=st.sampled_from(["instances", "placements", "outbox", "events", "regions", "status"]),
    query=st.dictionaries(
        st.sampled_from(["limit", "offset", "since", "state", "region", "status", "name"]),
        st.text(st.characters(exclude_categories=["Cs"])) | st.integers().map(str),
        max_size=3,
    ),
)
async def test_no_query_whatever_is_a_500(site: Site, path: str, query: dict[str, str]) -> None:
    answer = await site.get(f"/api/v1/{path}", params=query)
    assert answer.status in (200, 400)


def _get(target: bytes, *headers: bytes) -> bytes:
    return _request(b"GET " + target, b"Connection: close", *headers)


def _request(start: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    own = () if any(h.startswith(b"Host:") for h in headers) else (b"Host: localhost",)
    return b"\r\n".join([start + b" HTTP/1.1", *own, *headers, b"", body])


_CREATE = b"POST /api/v1/placements"
_JSON = b"Content-Type: application/json"


@pytest.mark.parametrize(
    "raw",
    [
        _get(b"/%ff%00%zz"),
        _get(b"/api/v1/instances?name=%ed%a0%80&%00=1"),
        _get(b"/api/v1/placements/%ed%a0%80"),
        _get(b"/metrics", b"Accept: \xff;q=\xfe"),
        _get(b"/metrics", b"Accept-Encoding: gzip;q=nonsense"),
        _get(b"/", b"Host: \xff\xfe"),
        _get(b"/", b"Host: [::1"),
        _get(b"/", b"Authorization: Bearer \xff"),
        _get(b"http://evil.example/"),
        _request(b"BREW /metrics", b"Connection: close"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        _request(
            _CREATE, _JSON, b"Transfer-Encoding: chunked", b"Connection: close", body=b"zz\r\nbroken\r\n"
        ),
        _request(
            _CREATE, _JSON, b"Idempotency-Key: \xff", b"Content-Length: 2", b"Connection: close", body=b"{}"
        ),
        _request(_CREATE, b"Content-Type: \xff\xff", b"Content-Length: 2", b"Connection: close", body=b"{}"),
        _request(b"POST /-/reload", b"Origin: http://[", b"Content-Length: 0", b"Connection: close"),
    ],
    ids=lambda raw: repr(raw[:40]),
)
async def test_no_bytes_whatever_are_a_500_or_an_entry_in_the_log(
    site: Site, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await site.send(raw)
    assert answer.startswith(b"HTTP/1.")
    assert b" 500 " not in answer[:20], answer
    assert not caplog.records
    assert (await site.get("/-/healthy")).status == 200


async def test_a_client_that_leaves_mid_body_harms_nobody(site: Site) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(_request(_CREATE, _JSON, b"Content-Length: 100", body=b"{"))
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await site.get("/-/healthy")).status == 200
    assert not site.placements.accepted


async def test_a_body_that_never_arrives_is_given_up() -> None:
    async with Site().running(body_timeout_s=0.02, shutdown_timeout_s=0.1) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(_request(_CREATE, _JSON, b"Content-Length: 100", body=b"{"))
        assert b"408" in await asyncio.wait_for(reader.readline(), 5)
        writer.close()


async def test_an_unexpected_error_says_nothing_of_itself(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.placements.error = RuntimeError("secret: s3cr3t")
    answer = await site.post("/api/v1/placements", BODY)
    assert (answer.status, answer.error["code"]) == (500, "INTERNAL")
    assert "s3cr3t" not in answer.text
    logged = capsys.readouterr()
    assert "request_failed" in logged.out + logged.err


async def test_an_error_of_nexusd_without_a_place_of_its_own_is_no_traceback(site: Site) -> None:
    site.placements.error = NexusdError("odd")
    assert (await site.post("/api/v1/placements", BODY)).error["message"] == "odd"


async def test_every_answer_carries_the_security_headers(site: Site) -> None:
    for path in ("/", "/metrics", "/api/v1/status", "/-/ready", "/nothing", "/static/nexusd.css"):
        headers = (await site.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe-inline" not in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Server"] == "nexusd"
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("path", ["/api/v1/placements/plc_1", "/api/v2/silence/x"])
async def test_a_large_body_of_a_delete_is_a_413(site: Site, path: str) -> None:
    answer = await site.ask("DELETE", path, data=io.BytesIO(b" " * (1024 * 1024 + 1)), headers=JSON)
    assert answer.status == 413


async def test_every_error_under_v2_is_a_string(site: Site) -> None:
    """As Alertmanager's clients read them, whoever refuses."""
    large = await site.ask(
        "POST", "/api/v2/silences", data=io.BytesIO(b" " * (1024 * 1024 + 1)), headers=JSON
    )
    nothing = await site.get("/api/v2/nothing")
    assert (large.status, large.json) == (413, "the body is too large")
    assert (nothing.status, nothing.json) == (404, "there is nothing at this path")


async def test_who_only_reads_is_not_asked_for_a_body(site: Site) -> None:
    """Which would be waited for, and held, before anybody is asked for a token."""

    async def never() -> Any:
        yield b" "
        await asyncio.sleep(60.0)

    answer = await site.ask("GET", "/-/healthy", data=never(), headers=JSON)
    assert answer.status == 200


@pytest.mark.parametrize("error", [ConnectionResetError(), BrokenPipeError(), ConnectionAbortedError()])
async def test_a_client_that_hangs_up_leaves_no_traceback(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    async def write(_: web.Request) -> web.StreamResponse:
        raise error

    transport = Mock(asyncio.Transport)
    request = make_mocked_request("GET", "/metrics", transport=transport)
    transport.is_closing.return_value = True
    assert await errors_as_answers(request, write)
    assert capsys.readouterr().out == ""
    transport.is_closing.return_value = False
    assert (await errors_as_answers(request, write)).status == 500
    assert "request_failed" in capsys.readouterr().out
