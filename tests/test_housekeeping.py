"""What is older than `history.retention` is forgotten, and nothing younger."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nexusd import settings
from nexusd.app import App
from nexusd.core.events import Event, Subject
from nexusd.core.polls import INSTANCES, REGIONS, PollState
from nexusd.core.world import World
from nexusd.engine import Lasting
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from nexusd.store.store import SqlStore
from nexusd.web.metrics import MetricsRegistry
from tests.fakes import EPOCH, FakeClock

HOUR_S = 3600.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    opened = open_store(StoreOptions(f"sqlite:///{tmp_path}/x.db", "me"), FakeClock(), InlineExecutor())
    yield opened
    await opened.close()


def app_over(store: SqlStore, clock: FakeClock, retention: str) -> App:
    values: dict[str, Any] = {"cloudnexus.api_key": "k", "history.retention": retention}
    loaded = settings.load(Path("/dev/null"), values, {})
    polls = {name: PollState(name, 15.0, EPOCH) for name in (REGIONS, INSTANCES)}
    lasting = Lasting(World(polls), store, clock, random.Random(1), MetricsRegistry())
    return App(lasting, loaded, lambda: loaded, asyncio.Event())


def event(at: float) -> Event:
    return Event(at, "RegionStatusChanged", Subject("region", "r"))


async def test_events_are_kept_as_long_as_the_configuration_says(store: SqlStore) -> None:
    clock = FakeClock()
    app = app_over(store, clock, "2h")
    old = [event(EPOCH - 2 * HOUR_S - 1)] * 3
    young = [event(EPOCH - 2 * HOUR_S + 1), event(EPOCH)]
    await store.run(lambda tx: tx.events.append([*old, *young]))
    while await store.run(app._forget):
        pass
    left = await store.run(lambda tx: tx.events.since(0, None, 1_000))
    assert [one.at for one in left] == [one.at for one in young]
