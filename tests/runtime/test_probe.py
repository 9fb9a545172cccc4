from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from nexusd.runtime import probe


def config(folder: Path, text: str) -> dict[str, str]:
    path = folder / "nexusd.yaml"
    path.write_text(text)
    return {"NEXUSD_CONFIG": str(path)}


def test_without_configuration_it_asks_the_default_address(tmp_path: Path) -> None:
    environment = {"NEXUSD_CONFIG": str(tmp_path / "none.yaml")}
    assert probe.health_url(environment) == "http://127.0.0.1:9650/-/healthy"


def test_it_asks_where_the_configuration_file_says(tmp_path: Path) -> None:
    assert probe.health_url(config(tmp_path, "server: {listen: '127.0.0.2:7000'}")).startswith(
        "http://127.0.0.2:7000/"
    )


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    environment = config(tmp_path, "server: {listen: '127.0.0.2:7000'}")
    environment["NEXUSD_SERVER__LISTEN"] = "127.0.0.3:8000"
    assert probe.health_url(environment) == "http://127.0.0.3:8000/-/healthy"


@pytest.mark.parametrize(
    ("variable", "text"),
    [("NEXUSD_server__Listen", "127.0.0.3:8000"), ("NEXUSD_SERVER", "{listen: '127.0.0.3:8000'}")],
)
def test_variables_are_read_as_the_daemon_reads_them(tmp_path: Path, variable: str, text: str) -> None:
    environment = config(tmp_path, "server: {listen: '127.0.0.2:7000'}") | {variable: text}
    assert probe.health_url(environment) == "http://127.0.0.3:8000/-/healthy"


def test_a_section_in_another_case_is_no_section(tmp_path: Path) -> None:
    environment = config(tmp_path, "Server: {listen: '127.0.0.2:7000'}")
    assert probe.health_url(environment) == "http://127.0.0.1:9650/-/healthy"


@pytest.mark.parametrize(
    ("listen", "base"),
    [
        ("0.0.0.0:9650", "http://127.0.0.1:9650"),
        ("[::]:9650", "http://[::1]:9650"),
        ("[2001:db8::1]:80", "http://[2001:db8::1]:80"),
        (":9650", "http://127.0.0.1:9650"),
    ],
)
def test_a_wildcard_address_is_asked_over_loopback(tmp_path: Path, listen: str, base: str) -> None:
    environment = {"NEXUSD_CONFIG": str(tmp_path / "none"), "NEXUSD_SERVER__LISTEN": listen}
    assert probe.health_url(environment) == f"{base}/-/healthy"


def test_tls_is_seen(tmp_path: Path) -> None:
    environment = config(tmp_path, "server: {tls: {cert_file: a.pem, key_file: b.pem}}")
    assert probe.health_url(environment).startswith("https://")


@pytest.mark.parametrize(
    "text", ["[", "server: 7", "- x", "", "server: " + "[" * 100_000], ids=lambda text: text[:12]
)
def test_a_file_that_cannot_be_read_is_the_daemons_to_complain_of(tmp_path: Path, text: str) -> None:
    assert probe.health_url(config(tmp_path, text)) == "http://127.0.0.1:9650/-/healthy"


async def ask(status: int, text: str) -> str | None:
    async def healthy(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    app = web.Application()
    app.router.add_get("/-/healthy", healthy)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/-/healthy"
        return await asyncio.to_thread(probe.complaint_of, url)
    finally:
        await runner.cleanup()


async def test_200_is_healthy() -> None:
    assert await ask(200, "ok") is None


async def test_503_is_not_and_the_reason_is_said() -> None:
    assert await ask(503, "polls make no progress") == "503 'polls make no progress'"


async def test_a_closed_port_is_not() -> None:
    complaint = await asyncio.to_thread(probe.complaint_of, "http://127.0.0.1:1/-/healthy")
    assert complaint == "connection refused"


async def test_a_response_that_is_not_http_is_unhealthy() -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        complaint = await asyncio.to_thread(probe.complaint_of, f"http://127.0.0.1:{port}/-/healthy")
    assert complaint == "no valid HTTP response"


async def test_a_host_that_does_not_exist_is_not() -> None:
    complaint = await asyncio.to_thread(probe.complaint_of, "http://nowhere.invalid:1/-/healthy")
    assert complaint is not None
    assert "Errno" not in complaint
