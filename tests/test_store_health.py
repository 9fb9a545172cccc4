"""State of the store in `/-/healthy` and `/-/ready`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nexusd import settings
from nexusd.app import App
from nexusd.core.polls import INSTANCES, REGIONS, PollState
from nexusd.core.world import World
from nexusd.engine import Lasting
from nexusd.store.commits import Job, Kind
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from nexusd.store.store import SqlStore
from nexusd.web.metrics import MetricsRegistry
from tests.fakes import EPOCH, FakeClock

REGIONS_S, INSTANCES_S = 15.0, 30.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqlStore]:
    opened = open_store(StoreOptions(f"sqlite:///{tmp_path}/x.db", "me"), clock, InlineExecutor())
    yield opened
    await opened.close()


@pytest.fixture
def app(store: SqlStore, clock: FakeClock) -> App:
    loaded = settings.load(Path("/dev/null"), {"cloudnexus.api_key": "k"}, {})
    polls = {
        name: PollState(name, interval_s, EPOCH).succeeded(EPOCH, 0.1)
        for name, interval_s in ((REGIONS, REGIONS_S), (INSTANCES, INSTANCES_S))
    }
    lasting = Lasting(World(polls), store, clock, random.Random(1), MetricsRegistry())
    return App(lasting, loaded, lambda: loaded, asyncio.Event())


def request() -> Job:
    """A transaction that has no result yet."""
    return Job(lambda _: None, Kind.PLAIN, 1, asyncio.get_running_loop().create_future())


async def test_a_store_that_does_not_answer_is_not_ready_and_after_three_intervals_not_healthy(
    store: SqlStore, clock: FakeClock, app: App
) -> None:
    assert (app.not_ready(), app.not_healthy()) == (None, None)
    store.health.commits.begin(request())
    clock.advance(6)
    assert app.not_ready() == "the store has not answered for 6 s"
    assert app.not_healthy() is None
    clock.advance(40)
    assert app.not_healthy() == "the store has not answered for 46 s"


async def test_a_read_that_hangs_leaves_a_daemon_that_commits_healthy(
    store: SqlStore, clock: FakeClock, app: App
) -> None:
    store.health.reads.begin(request())
    clock.advance(60)
    assert app.not_ready() == "the store has not answered for 60 s"
    assert app.not_healthy() is None
