"""`nexusd emulate` as a process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from nexusd.emulator.server import EmulatorServer
from tests.emulator.clients import a_cloud

_START_WITHIN_S = 20


async def launch(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "nexusd",
        "emulate",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if key != "CN_API_KEY"} | environment,
    )


@asynccontextmanager
async def emulating(
    *arguments: str, **environment: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The running command and what it printed when it had started."""
    process = await launch("--listen", "127.0.0.1:0", *arguments, **environment)
    assert process.stdout is not None
    try:
        lines = [await asyncio.wait_for(process.stdout.readline(), _START_WITHIN_S) for _ in range(4)]
        yield process, b"".join(lines).decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def failure(*arguments: str) -> tuple[int | None, str]:
    process = await launch(*arguments)
    output, error = await asyncio.wait_for(process.communicate(), _START_WITHIN_S)
    assert output == b""
    return process.returncode, error.decode()


def url_of(printed: str) -> str:
    return printed.split()[2]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_says_where_it_is_and_ends_cleanly(number: signal.Signals) -> None:
    async with emulating("--instances", "7") as (process, printed):
        assert f"NEXUSD_CLOUDNEXUS__BASE_URL={url_of(printed)} CN_API_KEY=demo-key" in printed
        headers = {"Authorization": "Bearer demo-key"}
        async with aiohttp.ClientSession(headers=headers) as session:
            async with session.get(f"{url_of(printed)}/instances") as response:
                assert (await response.json())["meta"]["total"] == 7
        process.send_signal(number)
        _, error = await asyncio.wait_for(process.communicate(), 5)
    assert (process.returncode, error) == (0, b"")


async def test_a_key_from_the_environment_counts_and_is_not_shown() -> None:
    async with emulating(CN_API_KEY="s3cret-canary") as (_, printed):
        async with aiohttp.ClientSession() as session:
            headers = {"Authorization": "Bearer s3cret-canary"}
            async with session.get(f"{url_of(printed)}/regions", headers=headers) as response:
                assert response.status == 200
    assert "canary" not in printed


async def test_the_scenario_s_times_count_from_when_it_serves(tmp_path: Path) -> None:
    scenario = tmp_path / "s.yaml"
    scenario.write_text("faults:\n  - region: {slug: us-east-1, status: degraded}\n    at: 0s")
    async with emulating("--scenario", str(scenario), "--jitter", "0") as (_, printed):
        headers = {"Authorization": "Bearer demo-key"}
        async with aiohttp.ClientSession(headers=headers) as session:
            async with session.get(f"{url_of(printed)}/regions") as response:
                assert (await response.json())["regions"][0]["status"] == "degraded"
    assert "1 fault\n" in printed


@pytest.mark.slow
async def test_a_busy_port_is_one_line_and_exit_code_1() -> None:
    async with EmulatorServer(a_cloud()) as server:
        code, error = await failure("--listen", f"127.0.0.1:{server.port}")
    assert (code, error) == (
        1,
        f"nexusd: cannot listen on 127.0.0.1:{server.port}: Address already in use\n",
    )


@pytest.mark.slow
async def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    scenario = tmp_path / "s.yaml"
    scenario.write_text("faults:\n  - latncy: 1s")
    for arguments, expected in (
        (
            ("--scenario", str(scenario)),
            f"nexusd: {scenario}:2: faults[0].latncy: unknown key, did you mean latency?",
        ),
        (("--listen", "9660"), "nexusd: --listen '9660' is not ADDRESS:PORT, such as 127.0.0.1:9660"),
        (("--boot-time", "8"), "nexusd: --boot-time '8' is not a duration such as 30s, 5m or 1h30m"),
        (("--api-key", ""), "nexusd: api_key must not be empty"),
    ):
        assert await failure(*arguments) == (2, f"{expected}\n")
