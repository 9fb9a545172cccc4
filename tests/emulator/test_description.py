"""The OpenAPI description, the emulator and a mock server made from the description say the same."""

from __future__ import annotations

import asyncio
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import DEFAULT_REGIONS, PLANS, EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.emulator.clients import WORKER
from tests.emulator.prism import DESCRIPTION, prism_program, prism_url  # noqa: F401 - fixtures
from tests.requirements import need


def description() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(DESCRIPTION.read_text())
    return loaded


def test_the_description_has_the_reference_s_endpoints_and_no_other() -> None:
    paths = description()["paths"]
    assert {path: sorted(operations) for path, operations in paths.items()} == {
        "/instances": ["get", "post"],
        "/regions": ["get"],
    }


def test_the_description_and_the_emulator_know_the_same_plans() -> None:
    plan = description()["components"]["schemas"]["NewInstance"]["properties"]["plan"]
    assert plan["enum"] == list(PLANS)


@pytest.mark.slow
async def test_schemathesis_finds_no_deviation_of_the_emulator(tmp_path: Path) -> None:
    need(find_spec("schemathesis"), "schemathesis is not installed")
    narrowed = tmp_path / "cloudnexus.openapi.yaml"
    narrowed.write_text(yaml.safe_dump(_with_regions(description())))
    cloud = Cloud(EmulatorOptions(instances=250))
    async with EmulatorServer(cloud) as server:
        code, output = await _schemathesis(narrowed, server.url)
    assert code == 0, output
    assert "No issues found" in output
    assert {"created", "refused"} <= {seen.outcome for seen in cloud.creates}


@pytest.mark.slow
async def test_schemathesis_would_find_a_deviation(tmp_path: Path) -> None:
    need(find_spec("schemathesis"), "schemathesis is not installed")
    wrong = _with_regions(description())
    wrong["components"]["schemas"]["Region"]["properties"]["capacity"] = {"type": "string"}
    broken = tmp_path / "broken.yaml"
    broken.write_text(yaml.safe_dump(wrong))
    async with EmulatorServer(Cloud(EmulatorOptions())) as server:
        code, _ = await _schemathesis(broken, server.url)
    assert code == 1


@pytest.mark.slow
async def test_prism_answers_as_the_reference_does(prism_url: str) -> None:  # noqa: F811 - the fixture
    headers = {"Authorization": "Bearer any-key"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(f"{prism_url}/regions") as response:
            assert response.status == 200
            assert (await response.json())["regions"][0]["slug"] == "us-east-1"
        async with session.get(f"{prism_url}/instances", params={"limit": 5}) as response:
            assert response.status == 200
            page = await response.json()
            assert page["data"][0]["id"] == "inst_8x92j1k0"
            assert page["meta"] == {"total": 1, "limit": 5, "offset": 0}
        async with session.post(f"{prism_url}/instances", json=WORKER) as response:
            assert (response.status, (await response.json())["status"]) == (201, "pending")


@pytest.mark.slow
async def test_prism_refuses_what_the_description_forbids(prism_url: str) -> None:  # noqa: F811 - the fixture
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{prism_url}/regions") as response:
            assert response.status == 401
        headers = {"Authorization": "Bearer any-key"}
        body = {**WORKER, "plan": "huge"}
        async with session.post(f"{prism_url}/instances", json=body, headers=headers) as response:
            assert response.status == 400


def _with_regions(described: dict[str, Any]) -> dict[str, Any]:
    """The description, knowing which regions there are: to it, any text could be a region."""
    region = described["components"]["schemas"]["NewInstance"]["properties"]["region"]
    region["enum"] = [spec.slug for spec in DEFAULT_REGIONS]
    return described


async def _schemathesis(schema: Path, url: str) -> tuple[int | None, str]:
    arguments = ["run", str(schema), "--url", url, "-H", "Authorization: Bearer demo-key"]
    settings = ["--max-examples", "100", "--seed", "1", "--no-color", "--generation-database", "none"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "schemathesis.cli",
        *arguments,
        *settings,
        cwd=schema.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode(errors="replace")[-8000:]
