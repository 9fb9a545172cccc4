"""Real processes: `plan` and `--dry-run` say where it would go, and create nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from nexusd.store.reading import read_store
from nexusd.store.schema import (
    attempts,
    budgets,
    coolings,
    decisions,
    events,
    idempotency_keys,
    outbox,
    placements,
)
from tests.e2e.daemon import KEY, DaemonProcess, run_to_end

OF_PLACING = (placements, attempts, decisions, idempotency_keys, budgets, coolings, outbox)
BODY = {"name": "worker-01", "plan": "pro"}


def rows(folder: Path) -> list[Any]:
    def read(tx: Any) -> list[Any]:
        told = tx.session.rows(events.select().where(events.c.kind == "placement"))
        return [*told, *(row for table in OF_PLACING for row in tx.session.rows(table.select()))]

    return read_store(f"sqlite:///{folder / 'nexusd.db'}", read)


@pytest.mark.slow
async def test_neither_writes_a_row_nor_sends_a_post(tmp_path: Path) -> None:
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=3, latency_jitter_ms=0))
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url) as daemon:
        dry_run = ("place", "worker-01", "--plan", "pro", "--dry-run", "-o", "json")
        code, out, _ = await run_to_end(tmp_path, *dry_run, NEXUSD_URL=daemon.url)
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{daemon.url}/api/v1/plan", json=BODY) as answer:
                planned = await answer.json()
        assert code == 0
        assert json.loads(out)["region"] == planned["region"] is not None
        assert rows(tmp_path) == []
        assert list(cloud.creates) == []
        placed = await daemon.place("worker-01")  # which would have been seen in both
        await daemon.placed(placed["id"], "provisioning", "running")
        assert rows(tmp_path) != []
        assert len(cloud.creates) == 1
