"""The muting that views of single alerts show."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexusd.core.errors import StoreUnavailableError
from nexusd.web import muting
from tests.web.fakes import NOW, FakeStore, muted_world


@pytest.fixture
def store() -> FakeStore:
    """The store with the silences of `muted_world`."""
    found = FakeStore()
    found.silences.save(muted_world().silences.values())
    return found


async def test_with_the_silences_of_the_last_pass_it_is_the_muting_of_that_pass(store: FakeStore) -> None:
    world = muted_world()
    assert await muting.muting_now(world, store, 1.0, NOW) is world.muting
    store.error = StoreUnavailableError("disk full")
    assert await muting.muting_now(world, store, 1.0, NOW) is world.muting


async def test_another_silence_or_the_time_makes_it_another(store: FakeStore) -> None:
    world = muted_world()
    [silence] = world.silences.values()
    ended = await muting.muting_now(world, store, 1.0, silence.ends_at)
    assert not any(muted.silenced_by for muted in ended.muted.values())
    store.silences.save([replace(silence, id="other", matchers=())])
    both = await muting.muting_now(world, store, 1.0, NOW)
    assert {muted.silenced_by for muted in both.muted.values()} == {("other",), (silence.id, "other")}
