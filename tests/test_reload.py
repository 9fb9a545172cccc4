"""A reload that goes wrong in whatever way changes nothing, and the daemon goes on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nexusd import settings
from nexusd.app import App
from nexusd.core.errors import ConfigError
from nexusd.core.polls import INSTANCES, REGIONS, PollState
from nexusd.core.world import World
from nexusd.engine import Lasting
from nexusd.settings import Settings
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from nexusd.store.store import SqlStore
from nexusd.web.metrics import MetricsRegistry
from tests.fakes import EPOCH, FakeClock


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    opened = open_store(StoreOptions(f"sqlite:///{tmp_path}/x.db", "me"), FakeClock(), InlineExecutor())
    yield opened
    await opened.close()


@pytest.mark.parametrize("error", [ConfigError("no such key"), OSError(13, "denied"), UnicodeError("idna")])
async def test_what_cannot_be_read_is_refused(store: SqlStore, error: Exception) -> None:
    loaded = settings.load(Path("/dev/null"), {"cloudnexus.api_key": "k"}, {})

    def load() -> Settings:
        raise error

    polls = {name: PollState(name, 15.0, EPOCH) for name in (REGIONS, INSTANCES)}
    metrics = MetricsRegistry()
    lasting = Lasting(World(polls), store, FakeClock(), random.Random(1), metrics)
    app = App(lasting, loaded, load, asyncio.Event())
    with pytest.raises(ConfigError):
        await app.reload()
    assert "nexusd_config_last_reload_successful 0" in metrics.render(openmetrics=False)
    assert app._next is None
