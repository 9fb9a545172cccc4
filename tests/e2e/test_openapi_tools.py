"""Linters and client generators read `/api/v1/openapi.json`.

Generated clients work with a daemon.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import KEY, DaemonProcess
from tests.requirements import need, need_program

pytestmark = pytest.mark.slow

CLIENTS = Path(__file__).parent / "clients"
PYTHON_TOOLS = (
    *("openapi-python-client==0.29.1", "openapi-generator-cli==7.26.0"),
    *("pydantic>=2.11,<3", "python-dateutil>=2.8.2", "urllib3>=2.7,<3"),  # of the generated clients
)
NODE_TOOLS = ("@redocly/cli@2.77.0", "@stoplight/spectral-cli@6.16.3")
SPECTRAL_RULES = '{"extends": ["spectral:oas"]}'
RUNNING = "running True True"


@dataclass(frozen=True)
class Tools:
    """An environment of their own: they and nexusd need not agree on versions."""

    folder: Path

    def python(self, name: str) -> str:
        return str(self.folder / "python" / "bin" / name)

    def node(self, name: str) -> str:
        return str(self.folder / "node_modules" / ".bin" / name)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """Installed from the package registries, which takes half a minute."""
    npm = need_program("npm")
    need_program("java")
    folder = tmp_path_factory.mktemp("tools")
    made = Tools(folder)
    subprocess.run([sys.executable, "-m", "venv", folder / "python"], check=True, timeout=60)
    (folder / "package.json").write_text("{}")
    installing = (
        [made.python("pip"), "install", "--quiet", "--disable-pip-version-check", *PYTHON_TOOLS],
        [npm, "install", "--silent", "--no-audit", "--no-fund", *NODE_TOOLS],
    )
    started = [
        subprocess.Popen(each, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for each in installing
    ]
    for process in started:
        output, _ = process.communicate(timeout=240)
        need(process.returncode == 0, f"cannot install the tools: {output.decode()[-1000:]}")
    return made


async def run(*command: str, cwd: Path, **variables: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=cwd,
        env={**os.environ, **variables},
    )
    output, _ = await asyncio.wait_for(process.communicate(), 120.0)
    return process.returncode, output.decode(errors="replace")[-8000:]


@asynccontextmanager
async def described(folder: Path) -> AsyncIterator[DaemonProcess]:
    """A daemon, and its description in `openapi.json`."""
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=42, pending_s=0.1, provisioning_s=0.1))
    async with EmulatorServer(cloud) as server, DaemonProcess(folder, server.url) as daemon:
        (folder / "openapi.json").write_text(await daemon.text("/api/v1/openapi.json"))
        yield daemon


async def test_the_linters_find_no_error(tools: Tools, tmp_path: Path) -> None:
    async with described(tmp_path):
        (tmp_path / "rules.json").write_text(SPECTRAL_RULES)
        quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
        lint = (tools.node("redocly"), "lint", "--extends", "recommended", "openapi.json")
        code, output = await run(*lint, cwd=tmp_path, **quiet)
        assert code == 0, output
        lint = (tools.node("spectral"), "lint", "--ruleset", "rules.json", "openapi.json")
        code, output = await run(*lint, cwd=tmp_path)
        assert code == 0, output


async def test_a_client_of_openapi_python_client_places_and_follows(tools: Tools, tmp_path: Path) -> None:
    async with described(tmp_path) as daemon:
        generate = ("generate", "--path", "openapi.json", "--output-path", "client", "--fail-on-warning")
        code, output = await run(tools.python("openapi-python-client"), *generate, cwd=tmp_path)
        assert code == 0, output
        script = str(CLIENTS / "with_python_client.py")
        code, output = await run(
            tools.python("python"), script, daemon.url, cwd=tmp_path, PYTHONPATH=str(tmp_path / "client")
        )
        assert (code, output.strip()) == (0, RUNNING)


async def test_a_client_of_openapi_generator_places_and_follows(tools: Tools, tmp_path: Path) -> None:
    async with described(tmp_path) as daemon:
        generate = ("generate", "-i", "openapi.json", "-g", "python", "-o", "client")
        code, output = await run(tools.python("openapi-generator-cli"), *generate, cwd=tmp_path)
        assert code == 0, output
        script = str(CLIENTS / "with_openapi_generator.py")
        code, output = await run(
            tools.python("python"), script, daemon.url, cwd=tmp_path, PYTHONPATH=str(tmp_path / "client")
        )
        assert (code, output.strip()) == (0, RUNNING)
