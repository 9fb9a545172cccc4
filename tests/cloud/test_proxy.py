"""An HTTP proxy in front of the API.

It tunnels TLS, and only the proxy receives its password.
"""

from __future__ import annotations

import asyncio
import base64
import random
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from nexusd.cloud.client import CloudNexus
from nexusd.core.answers import MADE, Created, CreateRequest, NotSent, Unknown
from nexusd.core.errors import ApiError, UnavailableError
from nexusd.settings import load, parts
from tests.cloud.server import KEY, Cloud, Reply, Request, chain_text, cloud, reply, serving
from tests.cloud.test_tls import CERTIFICATES, server_tls
from tests.fakes import RecordingMetrics
from tests.requirements import need_program
from tests.virtual_time import VIRTUAL_EPOCH, VirtualClock, in_virtual_time

ASKED = CreateRequest("worker-01", "us-east-1", "pro", "ubuntu-22.04")
LATER = VIRTUAL_EPOCH + 10.0


@dataclass
class Proxy:
    """A proxy that tunnels, unless `answer` is set: then it sends that.

    `heads`: the requests it received.
    """

    answer: bytes = b""
    url: str = ""
    heads: list[bytes] = field(default_factory=list)
    seen: bytearray = field(default_factory=bytearray)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            if self.answer:
                writer.write(self.answer)
                await writer.drain()
            else:
                await self._tunnel(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.heads[-1].split()[1].decode().partition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, back))
                group.create_task(self._copy(there, writer))
        finally:
            back.close()

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            self.seen += data
            target.write(data)
            await target.drain()
        target.close()

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def proxy(answer: bytes = b"") -> AsyncIterator[Proxy]:
    running = Proxy(answer)
    listening = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield running
    finally:
        listening.close()
        await running.stop()


@asynccontextmanager
async def behind(url: str) -> AsyncIterator[Cloud]:
    """A client of an API behind a proxy."""

    def respond(request: Request) -> Reply:
        return reply({"id": "inst_1"}, 201) if request.method == "POST" else reply({"regions": []})

    tls, ca_file = server_tls("right"), CERTIFICATES / "right.pem"
    async with cloud(respond, tls=tls, ca_file=ca_file, proxy=url, get_tries=1) as c:
        yield c


@in_virtual_time
async def test_requests_go_through_a_tunnel_that_sees_neither_key_nor_request() -> None:
    async with proxy() as used, behind(used.url) as c:
        await c.api.read_regions()
        assert isinstance(await c.api.create_instance(ASKED, LATER), Created)
    assert [request.method for request in c.server.requests] == ["GET", "POST"]
    host = c.server.base_url.removeprefix("https://").removesuffix("/v1")
    assert [head.split(b"\r\n")[0] for head in used.heads] == [f"CONNECT {host} HTTP/1.1".encode()] * 2
    assert KEY.encode() not in b"".join(used.heads) + used.seen


@in_virtual_time
async def test_user_and_password_are_sent_to_the_proxy_alone() -> None:
    async with proxy() as used, behind(used.url.replace("//", "//joe:p%40ss@")) as c:
        await c.api.read_regions()
        await c.api.create_instance(ASKED, LATER)
    encoded = base64.b64encode(b"joe:p@ss")
    assert all(b"Proxy-Authorization: Basic " + encoded in head for head in used.heads)
    assert not any("Proxy-Authorization" in request.headers for request in c.server.requests)
    assert "p%40ss" not in repr(c.api._options)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0\r\n\r\n",
    ],
)
@in_virtual_time
async def test_a_tunnel_that_is_refused_has_sent_nothing(answer: bytes) -> None:
    async with proxy(answer) as used, behind(used.url.replace("//", "//joe:p4ss@")) as c:
        with pytest.raises(ApiError) as caught:
            await c.api.read_regions()
        created = await c.api.create_instance(ASKED, LATER)
    assert isinstance(created, NotSent)
    if b"HTTP" in answer:
        assert caught.value.reason == "connect"
        assert f"the proxy refuses the connection ({answer[9:12].decode()})" in str(caught.value)
    assert "p4ss" not in chain_text(caught.value) + created.reason
    assert not c.server.received


@in_virtual_time
async def test_a_proxy_that_is_not_there_is_named() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with behind(f"http://127.0.0.1:{bound.getsockname()[1]}") as c:
            with pytest.raises(
                UnavailableError, match=r"cannot connect to the proxy \(connection refused\)$"
            ) as caught:
                await c.api.read_regions()
            assert isinstance(await c.api.create_instance(ASKED, LATER), NotSent)
    assert caught.value.reason == "connect"


@in_virtual_time
async def test_a_response_that_is_lost_in_the_tunnel_leaves_the_outcome_unknown() -> None:
    tls, ca_file = server_tls("right"), CERTIFICATES / "right.pem"
    async with proxy() as used:
        async with cloud(lambda _: Reply(drop=True), tls=tls, ca_file=ca_file, proxy=used.url) as c:
            assert isinstance(await c.api.create_instance(ASKED, LATER), Unknown)
            assert len(c.server.requests) == 1


@in_virtual_time
async def test_a_2xx_status_line_is_read_through_the_tunnel() -> None:
    tls, ca_file = server_tls("right"), CERTIFICATES / "right.pem"
    cut = Reply(raw=b"HTTP/1.1 201 Created\r\nno colon\r\n\r\n", close=True)
    async with proxy() as used, cloud(lambda _: cut, tls=tls, ca_file=ca_file, proxy=used.url) as c:
        outcome = await c.api.create_instance(ASKED, LATER)
    assert isinstance(outcome, Unknown)
    assert outcome.kind == MADE


@in_virtual_time
async def test_the_certificate_is_checked_through_the_tunnel() -> None:
    tls = server_tls("right")
    async with proxy() as used, cloud(lambda _: Reply(), tls=tls, proxy=used.url, get_tries=1) as c:
        with pytest.raises(UnavailableError) as caught:
            await c.api.read_regions()
        assert caught.value.reason == "tls"
        assert isinstance(await c.api.create_instance(ASKED, LATER), NotSent)
    assert not any(c.server.received)


@in_virtual_time
async def test_plain_http_to_loopback_does_not_use_the_proxy() -> None:
    async with proxy() as used, cloud(lambda _: reply({"regions": []}), proxy=used.url) as c:
        await c.api.read_regions()
    assert not used.heads


@in_virtual_time
async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy() as used:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, used.url)
        tls, ca_file = server_tls("right"), CERTIFICATES / "right.pem"
        async with cloud(lambda _: reply({"regions": []}), tls=tls, ca_file=ca_file) as c:
            await c.api.read_regions()
    assert not used.heads


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a private authority and a certificate.

    `ca.pem` is the authority, `leaf.pem` its certificate for 127.0.0.1.
    """
    folder = tmp_path_factory.mktemp("authority")
    new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    for command in (
        f"req -x509 {new_key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority",
        f"req {new_key} -keyout leaf.key -out leaf.csr -subj /CN=api -addext subjectAltName=IP:127.0.0.1",
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.pem -copy_extensions copy",
    ):
        arguments = [need_program("openssl"), *command.split()]
        subprocess.run(arguments, cwd=folder, check=True, capture_output=True, timeout=30)
    return folder


@pytest.mark.parametrize("trusted", [True, False])
def test_a_configured_proxy_and_private_authority_are_used(authority: Path, trusted: bool) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority / "leaf.pem", authority / "leaf.key")

    @in_virtual_time
    async def scenario() -> None:
        async with proxy() as used, serving(lambda _: reply({"regions": []}), tls) as server:
            path = authority / "nexusd.yaml"
            ca_file = "  ca_file: ca.pem\n" if trusted else ""
            path.write_text(f"cloudnexus:\n  base_url: {server.base_url}\n  proxy: {used.url}\n{ca_file}")
            settings = load(path, {}, {"CN_API_KEY": KEY})
            options = replace(parts.cloud_options(settings), get_tries=1)
            key, metrics = parts.key_source(settings), RecordingMetrics()
            async with CloudNexus(options, key, VirtualClock(), random.Random(1), metrics) as api:
                if trusted:
                    await api.read_regions()
                else:
                    with pytest.raises(UnavailableError, match="certificate"):
                        await api.read_regions()
            assert len(used.heads) == 1
            assert len(server.requests) == trusted

    scenario()
