"""A real `amtool` against a real daemon: alerts are queried, silences made, changed, and taken back."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import KEY, DaemonProcess
from tests.requirements import need_program

BINARY = shutil.which("amtool")
OPTIONS = EmulatorOptions(api_key=KEY, instances=30)
CONFIG: dict[str, Any] = {
    "alerts": {"rules": {"RegionLatencyHigh": {"threshold": "1ms", "for": "0s"}}},
    "receivers": [{"name": "ops", "type": "webhook", "url": "http://127.0.0.1:9/"}],
    "routes": [{"matchers": ['alertname="RegionLatencyHigh"'], "receivers": ["ops"]}],
    "server": {"write_token": "let-me-write"},
}

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _installed() -> None:
    need_program("amtool")


class Amtool:
    def __init__(self, folder: Path, url: str, token: str) -> None:
        self._url = url
        self._config = folder / "amtool-http.yml"
        self._config.write_text(f"authorization: {{type: Bearer, credentials: {token}}}\n")

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            str(BINARY),
            f"--alertmanager.url={self._url}",
            f"--http.config.file={self._config}",
            "--no-version-check",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 20.0)
        return process.returncode or 0, out.decode(), err.decode()

    async def json(self, *arguments: str) -> Any:
        code, out, err = await self.run("--output=json", *arguments)
        assert (code, err) == (0, "")
        return json.loads(out)

    async def names(self, *arguments: str) -> list[str]:
        return sorted({a["labels"]["alertname"] for a in await self.json("alert", "query", *arguments)})


@asynccontextmanager
async def driven(folder: Path, token: str = "let-me-write") -> AsyncIterator[Amtool]:
    async with EmulatorServer(Cloud(OPTIONS)) as server, DaemonProcess(folder, server.url, CONFIG) as daemon:
        amtool = Amtool(folder, daemon.url, token)
        async with asyncio.timeout(20.0):
            while await amtool.names() != ["RegionLatencyHigh", "Watchdog"]:
                await asyncio.sleep(0.1)
        yield amtool


async def test_alerts_are_queried_by_matchers_and_receiver(tmp_path: Path) -> None:
    async with driven(tmp_path) as amtool:
        one = await amtool.json("alert", "query", "RegionLatencyHigh", "region=~us-east-.*")
        assert {a["labels"]["region"] for a in one} == {"us-east-1"}
        assert one[0]["receivers"] == [{"name": "ops"}]
        assert one[0]["status"]["state"] == "active"
        assert await amtool.names("--receiver=ops") == ["RegionLatencyHigh"]
        assert await amtool.names("severity=none") == ["Watchdog"]
        code, out, _ = await amtool.run("alert", "query", "Watchdog")
        assert (code, "nexusd's alerting works" in out) == (0, True)


async def test_a_silence_may_have_negative_matchers_only(tmp_path: Path) -> None:
    async with driven(tmp_path) as amtool:
        code, out, err = await amtool.run("silence", "add", "severity!=none", "-c", "moving", "-a", "ada")
        assert (code, err) == (0, "")
        silenced = await amtool.json("alert", "query", "--silenced")
        assert {a["labels"]["alertname"] for a in silenced if a["status"]["silencedBy"] == [out.strip()]} == {
            "RegionLatencyHigh"
        }


async def test_a_silence_is_added_queried_updated_and_expired(tmp_path: Path) -> None:
    async with driven(tmp_path) as amtool:
        matchers = ("alertname=RegionLatencyHigh", "region!~us-.*")
        code, out, err = await amtool.run("silence", "add", *matchers, "--comment=moving", "--author=ada")
        assert (code, err) == (0, "")
        silence_id = out.strip()

        silenced = await amtool.json("alert", "query", "--silenced")
        assert {a["status"]["state"] for a in silenced} == {"suppressed"}
        assert {s for a in silenced for s in a["status"]["silencedBy"]} == {silence_id}
        assert not [a for a in silenced if a["labels"]["region"].startswith("us-")]
        active = await amtool.json("alert", "query", "RegionLatencyHigh")
        assert {a["labels"]["region"][:3] for a in active} == {"us-"}

        (known,) = await amtool.json("silence", "query", "alertname=RegionLatencyHigh")
        assert (known["id"], known["createdBy"], known["comment"]) == (silence_id, "ada", "moving")
        (longer,) = await amtool.json("silence", "update", "--duration=9h", silence_id)
        assert longer["id"] == silence_id
        assert longer["endsAt"] > known["endsAt"]

        assert (await amtool.run("silence", "expire", silence_id))[0] == 0
        assert await amtool.json("silence", "query") == []
        (over,) = await amtool.json("silence", "query", "--expired")
        assert (over["id"], over["status"]["state"]) == (silence_id, "expired")
        assert await amtool.json("alert", "query", "--silenced") == []


async def test_silences_are_exported_and_imported(tmp_path: Path) -> None:
    async with driven(tmp_path) as amtool:
        await amtool.run("silence", "add", "Watchdog", "--comment=quiet")
        (known,) = exported = await amtool.json("silence", "query")
        await amtool.run("silence", "expire", known["id"])
        backup = tmp_path / "silences.json"
        backup.write_text(json.dumps(exported))
        code, _, err = await amtool.run("silence", "import", str(backup), "--force")
        assert (code, err) == (0, "")
        (again,) = await amtool.json("silence", "query")
        assert again["id"] != known["id"]
        assert again["matchers"] == known["matchers"]


async def test_what_is_refused_is_said_in_amtools_words(tmp_path: Path) -> None:
    async with driven(tmp_path) as amtool:
        code, _, err = await amtool.run("silence", "add", "alertname=~.*", "--comment=all")
        assert (code, "must not match the empty value" in err) == (1, True)
        code, _, err = await amtool.run("alert", "add", "mine", "a=b")
        assert (code, "nexusd's own rules" in err) == (1, True)
        code, _, err = await amtool.run("silence", "expire", "6f1c2a52-0f0e-4b2a-9d53-6d6a53c2b9b1")
        assert (code, "404" in err) == (1, True)


async def test_without_the_token_one_may_look_and_not_silence(tmp_path: Path) -> None:
    async with driven(tmp_path, "not-the-token") as amtool:
        code, _, err = await amtool.run("silence", "add", "Watchdog", "--comment=quiet")
        assert (code, "401" in err) == (1, True)


async def test_the_routes_are_those_of_the_configuration(tmp_path: Path) -> None:
    async with driven(tmp_path) as amtool:
        code, out, err = await amtool.run("config", "routes", "test", "alertname=RegionLatencyHigh")
        assert (code, out.strip(), err) == (0, "ops", "")
        shown = (await amtool.run("config", "show"))[1]
        written = tmp_path / "alertmanager.yml"
        written.write_text(shown)
        code, out, err = await amtool.run("check-config", str(written))
        assert (code, re.search(r"SUCCESS", out) is not None) == (0, True), err
        assert (await amtool.run("cluster", "show"))[0] == 0
