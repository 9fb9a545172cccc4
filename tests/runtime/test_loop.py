"""The daemon's event loop."""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
from collections.abc import Iterator

import pytest

from nexusd.runtime import loop


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    threshold, interval_s = gc.get_threshold(), sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval_s)
    gc.unfreeze()
    gc.set_threshold(*threshold)


async def _module(found: list[str]) -> None:
    found.append(type(asyncio.get_running_loop()).__module__)


def test_the_daemon_runs_on_uvloop_where_it_is_installed() -> None:
    pytest.importorskip("uvloop")
    found: list[str] = []
    loop.run(_module(found))
    assert found[0].startswith("uvloop")


def test_asyncio_does_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    plain = importlib.reload(loop)
    try:
        found: list[str] = []
        plain.run(_module(found))
        assert found[0].startswith("asyncio")
    finally:
        monkeypatch.undo()
        importlib.reload(loop)


def test_what_is_there_for_good_is_left_alone_by_the_collector() -> None:
    before = gc.get_freeze_count()
    loop.freeze()
    assert gc.get_freeze_count() > before
