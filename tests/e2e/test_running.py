"""Real processes: starting, being looked at, being reloaded, stopping, and refusing to start."""

from __future__ import annotations

import asyncio
import json
import platform
import signal
import socket
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest
import yaml

from nexusd import __version__
from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import KEY, DaemonProcess, run_to_end

OPTIONS = EmulatorOptions(api_key=KEY, instances=30, pending_s=0.2, provisioning_s=0.4)


async def test_it_serves_what_it_polled_and_stops_in_order(tmp_path: Path) -> None:
    async with EmulatorServer(Cloud(OPTIONS)) as server, DaemonProcess(tmp_path, server.url) as daemon:
        assert len((await daemon.get("/api/v1/regions"))["regions"]) == 6
        assert (await daemon.get("/api/v1/instances"))["meta"]["total"] == 30
        assert (await daemon.get("/api/v1/status"))["version"]
        assert 'nexusd_instances{region="us-east-1",status="running"}' in await daemon.text("/metrics")
        assert await daemon.status("/") == 200
        assert await daemon.status("/-/healthy") == 200
        assert await daemon.stop() == 0
    log = daemon.log.read_text()
    assert "Traceback" not in log
    [started] = [line for line in map(json.loads, log.splitlines()) if line["event"] == "started"]
    assert (started["version"], started["receivers"]) == (__version__, [])
    assert started["config"].endswith(".yaml")
    assert started["store"].startswith("sqlite:///")
    assert "receivers: none is configured" in log


HEAP_OF_A_THREAD = 64 << 20
"""glibc's malloc: the size of a thread's heap, which begins at a multiple of it; its rest is reserved."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="heaps are where glibc puts them")
async def test_its_threads_share_one_heap(tmp_path: Path) -> None:
    async with EmulatorServer(Cloud(OPTIONS)) as server, DaemonProcess(tmp_path, server.url) as daemon:
        assert len(list(Path(f"/proc/{daemon.process.pid}/task").iterdir())) > 1
        maps = Path(f"/proc/{daemon.process.pid}/maps").read_text().splitlines()
    found = [(*(int(end, 16) for end in line.split()[0].split("-")), line.split()[1]) for line in maps]
    heaps = [
        begin
        for (begin, used, mode), (_, end, after) in pairwise(found)
        if (mode, after) == ("rw-p", "---p")
        if begin % HEAP_OF_A_THREAD == 0 and used <= end == begin + HEAP_OF_A_THREAD
    ]
    assert heaps == []


@pytest.mark.slow
async def test_a_reload_takes_a_new_configuration_and_refuses_a_bad_one(tmp_path: Path) -> None:
    async with EmulatorServer(Cloud(OPTIONS)) as server, DaemonProcess(tmp_path, server.url) as daemon:
        good = yaml.safe_load(daemon.config.read_text())
        daemon.config.write_text(yaml.safe_dump({**good, "poling": {}}))
        async with aiohttp.ClientSession() as http, http.post(f"{daemon.url}/-/reload") as answer:
            assert answer.status == 400
            assert "polling" in await answer.text()
        good["polling"]["regions"] = "400ms"
        daemon.config.write_text(yaml.safe_dump(good))
        daemon.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(10.0):
            while 'nexusd_poll_interval_seconds{resource="regions"} 0.4' not in await _metrics(daemon.url):
                await asyncio.sleep(0.05)
        assert await daemon.stop() == 0


@pytest.mark.slow
async def test_a_reload_to_a_busy_address_changes_nothing(tmp_path: Path) -> None:
    async with EmulatorServer(Cloud(OPTIONS)) as server, DaemonProcess(tmp_path, server.url) as daemon:
        good = yaml.safe_load(daemon.config.read_text())
        with socket.create_server(("127.0.0.1", 0)) as other:
            busy = f"127.0.0.1:{other.getsockname()[1]}"
            changed = {**good, "server": {**good["server"], "listen": busy}}
            daemon.config.write_text(yaml.safe_dump(changed))
            async with aiohttp.ClientSession() as http, http.post(f"{daemon.url}/-/reload") as answer:
                assert answer.status == 400
                assert f"cannot listen on {busy}: address already in use" in await answer.text()
        assert "nexusd_config_last_reload_successful 0" in await daemon.text("/metrics")
        async with aiohttp.ClientSession() as http, http.post(f"{daemon.url}/-/reload") as answer:
            assert answer.status == 200  # it is free by now
            while "nexusd_config_last_reload_successful 1" not in await _metrics(f"http://{busy}"):
                await asyncio.sleep(0.05)
        async with asyncio.timeout(10.0), aiohttp.ClientSession() as http:
            while not await _answers(http, f"http://{busy}/-/healthy"):
                await asyncio.sleep(0.05)
        assert not await _answers_at(daemon.url)
        assert await daemon.stop() == 0


async def _answers(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _answers_at(url: str) -> bool:
    async with aiohttp.ClientSession() as http:
        return await _answers(http, f"{url}/-/healthy")


@pytest.mark.slow
async def test_who_connects_during_a_reload_is_not_refused(tmp_path: Path) -> None:
    async with EmulatorServer(Cloud(OPTIONS)) as server, DaemonProcess(tmp_path, server.url) as daemon:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
            for _ in range(3):
                daemon.process.send_signal(signal.SIGHUP)
                for _ in range(20):
                    with suppress(aiohttp.ServerDisconnectedError):  # the old server's last
                        async with http.get(f"{daemon.url}/-/healthy") as answer:
                            assert answer.status == 200
                    await asyncio.sleep(0.005)
        assert await daemon.stop() == 0


async def _metrics(url: str) -> str:
    """Empty while nobody is there yet."""
    try:
        async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as answer:
            return await answer.text()
    except aiohttp.ClientError:
        return ""


@pytest.mark.slow
async def test_a_rotated_key_is_picked_up(tmp_path: Path) -> None:
    cloud = Cloud(OPTIONS)
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url) as daemon:
        (tmp_path / "api-key").write_text("another")
        async with asyncio.timeout(10.0):
            while await daemon.status("/-/ready") == 200:
                await asyncio.sleep(0.05)
        (tmp_path / "api-key").write_text(KEY)
        await daemon.ready()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--listen", "127.0.0.1:{busy}"], "cannot listen on 127.0.0.1:{busy}"),
        (["--store", "sqlite:////proc/nowhere/nexusd.db"], "/proc/nowhere"),
    ],
    ids=["busy port", "unusable store"],
)
async def test_what_keeps_it_from_starting_is_one_line_and_exit_1(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        given = [argument.format(busy=busy) for argument in arguments]
        code, _, err = await run_to_end(tmp_path, "run", *given, CN_API_KEY=KEY)
    lines = [line for line in err.splitlines() if line.startswith("nexusd:")]
    assert (code, len(lines)) == (1, 1), err
    assert said.format(busy=busy) in lines[0]
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ("cloudnexus:\n  api_key: x\n  base_ulr: https://a\n", "base_url"),
        ("cloudnexus: {api_key: x, base_url: 'http://example.com'}\n", "https"),
        ("polling: {regions: 15s}\n", "api_key"),
    ],
    ids=["unknown key", "plain http", "no key"],
)
async def test_a_bad_configuration_is_one_line_and_exit_2(
    tmp_path: Path, configuration: str, said: str
) -> None:
    file = tmp_path / "nexusd.yaml"
    file.write_text(configuration)
    code, _, err = await run_to_end(tmp_path, "run", "--config", str(file))
    assert code == 2, err
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.slow
async def test_a_second_daemon_on_the_same_store_exits(tmp_path: Path) -> None:
    async with EmulatorServer(Cloud(OPTIONS)) as server, DaemonProcess(tmp_path, server.url):
        store = f"sqlite:///{tmp_path / 'nexusd.db'}"
        code, _, err = await run_to_end(
            tmp_path, "run", "--listen", "127.0.0.1:0", "--store", store, CN_API_KEY=KEY
        )
        assert code == 1
        assert "nexusd.db" in err


async def _handled(daemon: DaemonProcess, number: signal.Signals) -> None:
    """Wait until the process catches the signal: the kernel's mask has a bit for each."""
    async with asyncio.timeout(10.0):
        while True:
            status = Path(f"/proc/{daemon.process.pid}/status").read_text()
            caught = int(status.split("SigCgt:")[1].split()[0], 16)
            if caught >> (number - 1) & 1:
                return
            await asyncio.sleep(0.001)


@pytest.mark.slow
async def test_sighup_while_it_starts_reloads_and_does_not_end_it(tmp_path: Path) -> None:
    async with EmulatorServer(Cloud(OPTIONS)) as server:
        daemon = DaemonProcess(tmp_path, server.url)
        await daemon.start()
        await _handled(daemon, signal.SIGHUP)
        daemon.process.send_signal(signal.SIGHUP)
        await daemon.ready()
        async with asyncio.timeout(10.0):
            while "configuration_reloaded" not in daemon.log.read_text():
                await asyncio.sleep(0.02)
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3, 0.6, 1.0])
async def test_sigterm_while_it_starts_ends_it_in_order(tmp_path: Path, after_s: float) -> None:
    async with EmulatorServer(Cloud(OPTIONS)) as server:
        daemon = DaemonProcess(tmp_path, server.url)
        await daemon.start()
        await _handled(daemon, signal.SIGTERM)
        await asyncio.sleep(after_s)
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
async def test_it_runs_with_standard_streams_closed(tmp_path: Path, closed: str) -> None:
    async with EmulatorServer(Cloud(OPTIONS)) as server:
        daemon = DaemonProcess(tmp_path, server.url)
        daemon.prefix = ("sh", "-c", f'exec "$@" {closed}', "sh")
        async with daemon:
            assert (await daemon.get("/api/v1/instances"))["meta"]["total"] == 30
            assert await daemon.stop() == 0
        assert "Assertion" not in daemon.log.read_text()
