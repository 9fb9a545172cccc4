"""schemathesis drives a real daemon by its OpenAPI description."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import KEY, DaemonProcess, environment
from tests.requirements import need

REPOSITORY = Path(__file__).parents[2]
WITHIN_S = 300.0
"""It takes 25 s of CPU."""


@asynccontextmanager
async def daemon_at_work(folder: Path) -> AsyncIterator[DaemonProcess]:
    need(find_spec("schemathesis"), "schemathesis is not installed")
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=42, pending_s=0.1, provisioning_s=0.1))
    async with EmulatorServer(cloud) as server, DaemonProcess(folder, server.url) as daemon:
        yield daemon


async def schemathesis(daemon: DaemonProcess, *arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli"),
        *("--config-file", str(REPOSITORY / "tests" / "e2e" / "schemathesis.toml")),
        "run",
        *arguments,
        *("--url", daemon.url, "--seed", "1", "--no-color", "--generation-database", "none"),
        cwd=daemon.folder,
        env={
            **environment(daemon.folder),
            "PYTHONPATH": str(REPOSITORY),
            "SCHEMATHESIS_HOOKS": "tests.e2e.schemathesis_formats",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)
    return process.returncode, output.decode(errors="replace")[-20_000:]


@pytest.mark.slow
async def test_schemathesis_finds_no_500_and_no_deviation(tmp_path: Path) -> None:
    async with daemon_at_work(tmp_path) as daemon:
        # Each reload ends the connections: tests of the command and of the server look at it.
        code, output = await schemathesis(
            daemon,
            *(f"{daemon.url}/api/v1/openapi.json", "--max-examples", "10", "--exclude-path", "/-/reload"),
        )
        assert code == 0, output
        assert '"request_failed"' not in daemon.log.read_text()


@pytest.mark.slow
async def test_schemathesis_would_find_a_deviation(tmp_path: Path) -> None:
    async with daemon_at_work(tmp_path) as daemon:
        wrong = await daemon.get("/api/v1/openapi.json")
        wrong["components"]["schemas"]["Region"]["properties"]["capacity"] = {"type": "string"}
        broken = tmp_path / "broken.json"
        broken.write_text(json.dumps(wrong))
        code, output = await schemathesis(
            daemon,
            *(str(broken), "--max-examples", "1", "--include-path", "/api/v1/regions"),
        )
        assert (code, "Response violates schema" in output) == (1, True), output
