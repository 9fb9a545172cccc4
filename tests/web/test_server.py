"""Starting, stopping and TLS."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest

from nexusd.core.errors import ConfigError, StartError
from nexusd.web.options import TlsFiles
from tests.requirements import need_program
from tests.web.site import Site

T = TypeVar("T")


async def test_a_busy_port_is_said_in_one_line(site: Site) -> None:
    with pytest.raises(StartError) as caught:
        async with Site().running(port=site.port):
            pass
    assert (
        str(caught.value)
        == f"cannot listen on 127.0.0.1:{site.port}: address already in use; set server.listen"
    )


async def test_an_address_that_is_not_of_this_machine_is_said_in_one_line() -> None:
    with pytest.raises(StartError, match=r"cannot listen on 192\.0\.2\.1:0: .*; set server\.listen"):
        async with Site().running(host="192.0.2.1"):
            pass


async def test_the_url_is_where_this_machine_finds_it() -> None:
    async with Site().running(host="0.0.0.0") as site:
        assert site.server.url == f"http://127.0.0.1:{site.port}/"
        assert (await site.get("/-/healthy")).status == 200


async def test_every_address_is_listened_on_when_none_is_named() -> None:
    async with Site().running(host="") as site:
        assert site.server.url == f"http://127.0.0.1:{site.port}/"
        assert (await site.get("/-/healthy")).status == 200


async def test_the_unspecified_ipv6_address_is_every_address_of_ipv4_too() -> None:
    async with Site().running(host="::") as site:
        assert site.server.url == f"http://127.0.0.1:{site.port}/"
        assert (await site.get("/-/healthy")).status == 200
        if socket.has_ipv6:
            reader, writer = await asyncio.open_connection("::1", site.port)
            writer.write(b"GET /-/healthy HTTP/1.0\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.0 200")
            writer.close()


async def test_after_stopping_nobody_listens() -> None:
    async with Site().running() as site:
        port = site.port
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_request_under_way_is_answered_before_the_server_stops() -> None:
    site = Site()
    entered, release = asyncio.Event(), asyncio.Event()
    run = site.store.run

    async def slow(transaction: Callable[..., T]) -> T:
        entered.set()
        await release.wait()
        return await run(transaction)

    site.store.run = slow  # type: ignore[method-assign]
    async with site.running(), asyncio.TaskGroup() as group:
        answer = group.create_task(site.get("/api/v1/placements"))
        await entered.wait()
        stopping = group.create_task(site.server.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        release.set()
    assert answer.result().status == 200


async def test_requests_leave_no_lines_in_the_log(
    site: Site, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    with caplog.at_level(logging.INFO):
        await site.get("/api/v1/status")
        await site.get("/nothing")
    assert not caplog.records
    assert capsys.readouterr().out == ""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """Self-signed, for 127.0.0.1; its own authority."""
    folder = tmp_path_factory.mktemp("tls")
    files = TlsFiles(folder / "cert.pem", folder / "key.pem")
    command = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=nexusd", "-addext", "subjectAltName=IP:127.0.0.1"]
    out = ["-keyout", str(files.key_file), "-out", str(files.cert_file)]
    subprocess.run(
        [need_program("openssl"), *command, *names, *out], check=True, capture_output=True, timeout=30
    )
    return files


async def test_tls_serves_with_its_certificate(certificate: TlsFiles) -> None:
    trust = ssl.create_default_context(cafile=str(certificate.cert_file))
    async with Site().running(tls=certificate) as site:
        assert site.server.url.startswith("https://")
        async with site.session.get(site.server.url + "-/healthy", ssl=trust) as response:
            assert response.status == 200


async def test_with_a_client_authority_only_its_certificates_are_let_in(certificate: TlsFiles) -> None:
    both = TlsFiles(certificate.cert_file, certificate.key_file, certificate.cert_file)
    stranger = ssl.create_default_context(cafile=str(certificate.cert_file))
    friend = ssl.create_default_context(cafile=str(certificate.cert_file))
    friend.load_cert_chain(certificate.cert_file, certificate.key_file)
    async with Site().running(tls=both) as site:
        with pytest.raises(aiohttp.ClientError):
            await site.session.get(site.server.url, ssl=stranger)
        async with site.session.get(site.server.url, ssl=friend) as response:
            assert response.status == 200


async def test_tls_files_that_cannot_be_used_are_a_configuration_error(
    certificate: TlsFiles, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.pem"
    swapped = TlsFiles(certificate.key_file, certificate.cert_file)
    for files in (TlsFiles(missing, certificate.key_file), swapped):
        with pytest.raises(ConfigError, match=r"server\.tls: cannot use .*\.pem"):
            async with Site().running(tls=files):
                pass
