"""Real processes: a create that is refused is sent once, and what the provider said reaches the user."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.effects import Answer
from nexusd.emulator.faults import Fault
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import DaemonProcess
from tests.e2e.test_placing import CREATES, OPTIONS

SEVERAL_PASSES_S = 1.5


@pytest.mark.slow
async def test_a_rejected_request_is_sent_once_and_fails_with_the_providers_words(tmp_path: Path) -> None:
    cloud = Cloud(OPTIONS)
    details = ({"field": "image", "message": "is\nretired"},)
    cloud.add_fault(Fault(Answer(422, "VALIDATION_ERROR", "image is retired", details), CREATES))
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url) as daemon:
        placed = await daemon.place("worker-01")
        ended = await daemon.placed(placed["id"], "failed")
        await asyncio.sleep(SEVERAL_PASSES_S)
    said = '422 VALIDATION_ERROR: image is retired ([{"field":"image","message":"is\\nretired"}])'
    assert said in ended["reason"]
    assert [attempt["detail"] for attempt in ended["attempts"]] == [said]
    assert len(cloud.creates) == 1


@pytest.mark.slow
async def test_a_refused_key_is_tried_once_and_the_providers_words_are_told(tmp_path: Path) -> None:
    cloud = Cloud(OPTIONS)
    cloud.add_fault(Fault(Answer(401, "UNAUTHORIZED", "the key was revoked on Monday"), CREATES))
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url) as daemon:
        placed = [await daemon.place(f"worker-{n}") for n in range(3)]
        async with asyncio.timeout(10.0):
            while await daemon.status("/-/ready") == 200:
                await asyncio.sleep(0.05)
        await asyncio.sleep(SEVERAL_PASSES_S)
        first = await daemon.get(f"/api/v1/placements/{placed[0]['id']}")
        alerts = await daemon.get("/api/v2/alerts?filter=alertname=CloudAPIUnauthorized")
    assert first["state"] == "queued"
    (alert,) = alerts
    assert "the key was revoked on Monday" in alert["annotations"]["description"]
    assert "the key was revoked on Monday" in first["reason"]
    said = [attempt["detail"] for attempt in first["attempts"]]
    assert said == ["401 UNAUTHORIZED: the key was revoked on Monday"]
    assert len(cloud.creates) == 1
