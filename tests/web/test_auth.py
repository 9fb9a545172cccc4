"""Authentication and authorization of requests.

Cases are tokens, loopback, proxies, other sites and DNS rebinding.
"""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.web.fakes import placement
from tests.web.site import BODY, Site

READ = {"Authorization": "Bearer read-me"}
WRITE = {"Authorization": "Bearer write-me"}
UNSAFE = [
    ("POST", "/api/v1/placements", {"json": BODY}),
    ("DELETE", f"/api/v1/placements/{placement().id}", {}),
    ("POST", f"/api/v1/placements/{placement().id}/resolve", {"json": {"outcome": "absent"}}),
    ("POST", "/api/v1/outbox/replay", {"json": {}}),
    ("POST", "/api/v1/alerts/test", {"json": {}}),
    ("POST", "/-/reload", {"skip_auto_headers": ["Content-Type"]}),
]
READING = [
    ("GET", "/", {}),
    ("GET", "/metrics", {}),
    ("GET", "/-/ready", {}),
    ("GET", "/api/v1/status", {}),
    ("GET", "/api/v1/placements", {}),
    ("GET", "/api/v1/outbox", {}),
    ("GET", "/static/nexusd.css", {}),
    ("POST", "/api/v1/plan", {"json": BODY}),
]
unsafe = pytest.mark.parametrize(("method", "path", "more"), UNSAFE, ids=lambda v: str(v)[:30])
reading = pytest.mark.parametrize(("method", "path", "more"), READING, ids=lambda v: str(v)[:30])


def _changed(site: Site) -> bool:
    placements = site.placements
    commanded = site.daemon.reloads or site.daemon.replays or site.daemon.tests
    return bool(placements.accepted or placements.cancelled or placements.resolved or commanded)


async def _with_headers(site: Site, method: str, path: str, more: Any, headers: dict[str, str]) -> Any:
    return await site.ask(method, path, headers=headers, **more)


@unsafe
async def test_without_a_token_a_local_command_works(site: Site, method: str, path: str, more: Any) -> None:
    answer = await site.ask(method, path, **more)
    assert answer.status < 300
    assert _changed(site)


@unsafe
@pytest.mark.parametrize("host", ["localhost", "localhost:9650", "127.0.0.1", "127.8.9.1:80", "[::1]:9650"])
async def test_any_loopback_host_is_of_this_machine(
    site: Site, method: str, path: str, more: Any, host: str
) -> None:
    answer = await _with_headers(site, method, path, more, {"Host": host})
    assert answer.status < 300


@unsafe
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9650",
        "127.0.0.1.evil.example",
        "localhost.evil",
        "10.0.0.1",
        "",
        "[",
        "127.0.0.1:9650@evil.example",
        "evil.example@127.0.0.1:9650",
        "127.0.0.1/evil.example",
        "127.0.0.1?evil.example",
        "127.0.0.1#evil.example",
        "127.0.0.1 evil.example",
        "127.0.0.1,evil.example",
        "127.0.0.1:evil",
        "127.0.0.1:",
        "127.0.0.1:9650:9650",
        "localhost\\evil.example",
        "[::1]evil.example",
        "[::1",
        "::1",
    ],
)
async def test_a_command_under_a_foreign_host_is_refused(
    site: Site, method: str, path: str, more: Any, host: str
) -> None:
    answer = await _with_headers(site, method, path, more, {"Host": host})
    assert answer.status in (400, 403)
    assert not _changed(site)


@unsafe
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
async def test_a_command_on_behalf_of_another_site_is_refused(
    site: Site, method: str, path: str, more: Any, headers: dict[str, str]
) -> None:
    answer = await _with_headers(site, method, path, more, headers)
    assert (answer.status, answer.error["code"]) == (403, "FORBIDDEN")
    assert not _changed(site)


@unsafe
@pytest.mark.parametrize(
    "header",
    [
        "Forwarded",
        "Via",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "x-forwarded-anything",
        "X-Real-IP",
        "X-Client-IP",
        "X-Original-Host",
        "X-Original-URI",
        "X-Envoy-External-Address",
        "X-Scheme",
        "True-Client-IP",
        "CF-Connecting-IP",
        "Fastly-Client-IP",
    ],
)
async def test_a_command_that_a_proxy_forwarded_is_refused(
    site: Site, method: str, path: str, more: Any, header: str
) -> None:
    answer = await _with_headers(site, method, path, more, {header: "127.0.0.1"})
    assert (answer.status, answer.error["code"]) == (403, "FORBIDDEN")
    assert "server.write_token" in answer.error["message"]
    assert not _changed(site)


@pytest.mark.parametrize(
    ("target", "more"),
    [
        (b"/-/reload HTTP/1.0", b""),
        (b"/-/reload HTTP/1.1", b"Host: evil.example\r\n"),
        (b"http://evil.example/-/reload HTTP/1.1", b""),
        (b"http://localhost/-/reload HTTP/1.1", b""),
    ],
)
async def test_a_command_as_nginx_sends_it_or_with_two_hosts_is_refused(
    site: Site, target: bytes, more: bytes
) -> None:
    raw = b"POST %s\r\nHost: 127.0.0.1\r\n%sConnection: close\r\n\r\n" % (target, more)
    assert (await site.send(raw)).split(b" ")[1] in (b"400", b"403")
    assert not _changed(site)


@unsafe
async def test_while_an_external_url_is_set_a_command_needs_the_token(
    method: str, path: str, more: Any
) -> None:
    async with Site().running(external_url="https://nexusd.example.com/") as site:
        answer = await site.ask(method, path, **more)
    assert (answer.status, answer.error["code"]) == (403, "FORBIDDEN")
    assert "server.external_url" in answer.error["message"]
    assert not _changed(site)


@unsafe
async def test_an_external_url_on_loopback_leaves_commands_open(method: str, path: str, more: Any) -> None:
    async with Site().running(external_url="http://localhost:9650/") as site:
        assert (await site.ask(method, path, **more)).status < 300


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
@pytest.mark.parametrize("path", ["/-/reload", "/api/v1/placements", "/api/v1/plan"])
async def test_what_a_form_can_send_is_refused(site: Site, path: str, kind: str) -> None:
    answer = await site.ask("POST", path, data=b"{}", headers={"Content-Type": kind})
    assert (answer.status, answer.error["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert not _changed(site)


@unsafe
@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer "}, {"Authorization": "Basic d3JpdGUtbWU="}]
)
async def test_with_a_write_token_even_a_local_command_needs_it(
    method: str, path: str, more: Any, headers: dict[str, str]
) -> None:
    async with Site().running(write_token="write-me") as site:
        answer = await _with_headers(site, method, path, more, headers)
    assert (answer.status, answer.error["code"]) == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="nexusd"'
    assert not _changed(site)


@unsafe
async def test_a_wrong_token_is_refused(method: str, path: str, more: Any) -> None:
    async with Site().running(write_token="write-me") as site:
        answer = await _with_headers(site, method, path, more, {"Authorization": "Bearer write-mé"})
    assert answer.status == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert not _changed(site)


@unsafe
async def test_the_write_token_lets_in_from_any_host(method: str, path: str, more: Any) -> None:
    async with Site().running(write_token="write-me") as site:
        answer = await _with_headers(site, method, path, more, WRITE | {"Host": "nexusd.example"})
        assert answer.status < 300
        assert _changed(site)


@unsafe
async def test_the_read_token_may_not_command(method: str, path: str, more: Any) -> None:
    async with Site().running(read_token="read-me", write_token="write-me") as site:
        answer = await _with_headers(site, method, path, more, READ)
    assert (answer.status, answer.error["code"]) == (403, "FORBIDDEN")
    assert not _changed(site)


@reading
async def test_reading_needs_no_token_when_none_is_set(site: Site, method: str, path: str, more: Any) -> None:
    assert (await site.ask(method, path, **more)).status == 200


@reading
async def test_a_read_token_closes_reading(method: str, path: str, more: Any) -> None:
    async with Site().running(read_token="read-me") as site:
        assert (await site.ask(method, path, **more)).status == 401
        assert (await _with_headers(site, method, path, more, READ)).status == 200


@reading
async def test_the_write_token_may_read(method: str, path: str, more: Any) -> None:
    async with Site().running(read_token="read-me", write_token="write-me") as site:
        assert (await _with_headers(site, method, path, more, WRITE)).status == 200


@reading
async def test_a_write_token_alone_leaves_reading_open(method: str, path: str, more: Any) -> None:
    async with Site().running(write_token="write-me") as site:
        assert (await site.ask(method, path, **more)).status == 200


async def test_healthy_stays_open_to_everybody() -> None:
    async with Site().running(read_token="read-me", write_token="write-me") as site:
        assert (await site.get("/-/healthy", headers={"Host": "evil.example"})).status == 200


async def test_unknown_paths_tell_nothing_without_the_token() -> None:
    async with Site().running(read_token="read-me") as site:
        assert (await site.get("/nothing")).status == 401


@reading
async def test_a_rebound_name_cannot_read_what_listens_on_loopback(
    site: Site, method: str, path: str, more: Any
) -> None:
    answer = await _with_headers(site, method, path, more, {"Host": "evil.example:9650"})
    assert (answer.status, answer.error["code"]) == (403, "FORBIDDEN")


async def test_a_reader_without_a_host_header_is_no_browser_and_is_let_in(site: Site) -> None:
    assert b"200 OK" in await site.send(b"GET /-/ready HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("host", ["", "evil@localhost", "localhost/evil", "localhost evil", "localhost:"])
async def test_a_reader_with_an_empty_host_or_junk_after_it_is_refused(site: Site, host: str) -> None:
    answer = await site.get("/api/v1/status", headers={"Host": host})
    assert (answer.status, answer.error["code"]) == (403, "FORBIDDEN")


async def test_two_host_headers_are_refused(site: Site) -> None:
    raw = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert (await site.send(raw)).split(b" ")[1] in (b"400", b"403")


async def test_the_host_of_the_external_url_may_read_but_not_command() -> None:
    async with Site().running(external_url="https://nexusd.example.com") as site:
        headers = {"Host": "nexusd.example.com"}
        assert (await site.get("/api/v1/status", headers=headers)).status == 200
        assert (await site.post("/api/v1/placements", BODY, headers=headers)).status == 403


async def test_a_listener_beyond_loopback_serves_readers_under_any_name() -> None:
    async with Site().running(host="0.0.0.0") as site:
        assert (await site.get("/metrics", headers={"Host": "nexusd.internal:9650"})).status == 200


def _own_address() -> str | None:
    """An address of this machine that is not loopback, found without sending anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        return address if not address.startswith("127.") else None


@unsafe
async def test_without_a_token_commands_from_another_machine_are_refused(
    method: str, path: str, more: Any
) -> None:
    address = _own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    async with Site().running(host=address) as site:
        answer = await _with_headers(site, method, path, more, {"Host": "localhost"})
    assert (answer.status, answer.error["code"]) == (403, "FORBIDDEN")
    assert not _changed(site)


async def test_no_answer_and_no_header_holds_a_token() -> None:
    async with Site().running(read_token="read-me", write_token="write-me") as site:
        for path in ("/", "/metrics", "/api/v1/status", "/nothing"):
            answer = await site.get(path, headers=READ)
            served = answer.body + str(answer.headers).encode()
            assert b"read-me" not in served
            assert b"write-me" not in served
        assert "write-me" not in repr(site.options)
