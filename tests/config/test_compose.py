"""config/compose.yaml. There is no container engine here: the services run as processes, without Grafana."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml

from tests.config.composed import COMPOSE, NEXUSD, Composed, mounts, services
from tests.config.shipped import CONFIG
from tests.e2e.daemon import environment, run_to_end
from tests.requirements import need_program

every_service = pytest.mark.parametrize("name", services())


def test_the_services_are_those_that_nexusd_plugs_into() -> None:
    assert set(services()) == {"emulator", "nexusd", "prometheus", "alertmanager", "grafana"}


@every_service
def test_every_mounted_path_exists_and_is_for_reading_only(name: str) -> None:
    volumes = yaml.safe_load(COMPOSE.read_text())["volumes"]
    for inside, source in mounts(services()[name]).items():
        if source.startswith("."):
            assert (CONFIG / source).exists(), source
            assert f"{source}:{inside}:ro" in services()[name]["volumes"]
        else:
            assert source in volumes


@every_service
def test_every_service_is_checked_read_only_and_pinned(name: str) -> None:
    service = services()[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert re.fullmatch(r"nexusd:local|docker\.io/\w+/\w+:v?\d+\.\d+\.\d+", service["image"])


@every_service
def test_all_share_the_emulators_network_and_wait_for_what_they_need(name: str) -> None:
    service = services()[name]
    assert service.get("network_mode") == (None if name == "emulator" else "service:emulator")
    for other, how in service.get("depends_on", {}).items():
        assert other in services()
        assert how == {"condition": "service_healthy"}


def test_what_is_published_is_where_the_services_listen_and_on_this_machine_only() -> None:
    published = [port.rsplit(":", 2) for port in services()["emulator"]["ports"]]
    assert {(host, outside == inside) for host, outside, inside in published} == {("127.0.0.1", True)}
    assert {inside for *_, inside in published} == {"9650", "9090", "9093", "3000"}


def test_each_configuration_leads_to_where_a_service_listens() -> None:
    listening = {"127.0.0.1:9660"}
    listening |= {f"127.0.0.1:{port.rsplit(':')[-1]}" for port in services()["emulator"]["ports"]}
    prometheus = yaml.safe_load((CONFIG / "prometheus/prometheus.yml").read_text())
    sources = yaml.safe_load((CONFIG / "grafana/provisioning/datasources/nexusd.yaml").read_text())
    named = {
        *prometheus["scrape_configs"][0]["static_configs"][0]["targets"],
        *prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"],
        urlsplit(
            yaml.safe_load((CONFIG / "compose/nexusd.yaml").read_text())["cloudnexus"]["base_url"]
        ).netloc,
        *(urlsplit(job["url"]).netloc for job in prometheus["scrape_configs"][1]["http_sd_configs"]),
        *(urlsplit(source["url"]).netloc for source in sources["datasources"]),
    }
    assert named <= listening


@every_service
def test_each_health_check_asks_where_its_service_listens(name: str) -> None:
    check = " ".join(services()[name]["healthcheck"]["test"])
    [port] = re.findall(r"(?:127\.0\.0\.1:|127\.0\.0\.1\", )(\d+)", check)
    command = " ".join(services()[name].get("command", []))
    where = {"nexusd": (CONFIG / "compose/nexusd.yaml").read_text(), "grafana": ":3000"}
    assert f":{port}" in where.get(name, command)


def test_grafana_finds_the_dashboards_where_its_provisioning_looks() -> None:
    [provider] = yaml.safe_load((CONFIG / "grafana/provisioning/dashboards/nexusd.yaml").read_text())[
        "providers"
    ]
    assert mounts(services()["grafana"])[provider["options"]["path"]] == "./grafana/dashboards"


async def test_nexusds_configuration_is_right(tmp_path: Path) -> None:
    config = str(CONFIG / "compose" / "nexusd.yaml")
    variables = services()["nexusd"]["environment"]
    code, out, err = await run_to_end(tmp_path, "config", "check", "--config", config, **variables)
    assert (code, "OK" in out) == (0, True), err
    [no_receiver, no_token] = err.splitlines()
    assert "receivers: none is configured" in no_receiver
    assert "there is no server.write_token" in no_token


@asynccontextmanager
async def running(command: list[str], folder: Path, **variables: str) -> AsyncIterator[None]:
    """It must still run when it is left."""
    with (folder / f"{Path(command[0]).name}-{len(list(folder.glob('*.log')))}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=log, stderr=log, cwd=folder, env={**environment(folder), **variables}
        )
    try:
        yield
        assert process.returncode is None, command
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 30.0)


@asynccontextmanager
async def all_services(composed: Composed) -> AsyncIterator[None]:
    programs = {
        "emulator": NEXUSD,
        "nexusd": NEXUSD,
        "alertmanager": (need_program("prometheus-alertmanager"),),
        "prometheus": (need_program("prometheus"),),
    }
    async with AsyncExitStack() as stack:
        for name, program in programs.items():
            variables = services()[name].get("environment", {})
            command = composed.command(name, program)
            folder = composed.folder / name
            await stack.enter_async_context(
                running(command, folder, STATE_DIRECTORY=str(folder), **variables)
            )
            if name == "nexusd":
                await ready(composed.ports[9650])
        yield


async def ready(port: int) -> None:
    """As `depends_on` has it."""
    async with asyncio.timeout(60.0):
        while await probed(f"http://127.0.0.1:{port}/-/ready") != 200:
            await asyncio.sleep(0.1)


async def probed(url: str) -> int | None:
    try:
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            return answer.status
    except aiohttp.ClientError:
        return None


async def answered(url: str) -> Any:
    """What is answered once it is, and not empty."""
    async with asyncio.timeout(60.0), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(url) as answer:
                    found = await answer.json() if answer.status == 200 else None
                    if found:
                        return found
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)


@pytest.mark.slow
async def test_the_services_find_each_other(tmp_path: Path) -> None:
    composed = Composed(tmp_path)
    port = composed.ports
    async with all_services(composed):
        told = await answered(f"http://127.0.0.1:{port[9093]}/api/v2/alerts")
        assert {alert["labels"]["job"] for alert in told} == {"nexusd"}
        targets = await answered(f"http://127.0.0.1:{port[9090]}/api/v1/targets?state=active")
        jobs = [target["labels"]["job"] for target in targets["data"]["activeTargets"]]
        assert set(jobs) == {"nexusd", "node"}
        fleets = await answered(f"http://127.0.0.1:{port[9650]}/api/v1/fleets")
        assert [fleet["name"] for fleet in fleets["data"]] == ["web", "db"]
