"""The daemon's event loop."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nexusd.runtime import loop


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


_WRITE_WHAT_THE_C_LIBRARY_TELLS = """
import asyncio, ctypes, sys, threading
from nexusd.runtime import loop

def told():
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    libc.malloc_info.argtypes = ctypes.c_int, ctypes.c_void_p
    libc.fclose.argtypes = (ctypes.c_void_p,)
    file = libc.fopen(sys.argv[1].encode(), b"w")
    libc.malloc_info(0, file)
    libc.fclose(file)
"""

_SIX_THREADS_WITH_MEMORY = """
together = threading.Barrier(6)

def work():
    together.wait(30)
    kept = [bytes(5000) for _ in range(100)]
    together.wait(30)

async def main():
    threads = [threading.Thread(target=work) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        await asyncio.to_thread(each.join)
    told()

loop.run(main())
"""

_A_LARGE_BLOCK_AFTER_A_LARGER = """
async def main():
    bytes(8 << 20)
    kept = bytes(4 << 20)
    told()

loop.run(main())
"""

of_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="heaps are as glibc tells of them")


@of_glibc
@pytest.mark.parametrize(("given", "least", "most"), [({}, 1, 1), ({"MALLOC_ARENA_MAX": "5"}, 3, 5)])
def test_threads_share_a_heap_unless_somebody_wants_more(
    tmp_path: Path, given: dict[str, str], least: int, most: int
) -> None:
    told = _told(tmp_path, _SIX_THREADS_WITH_MEMORY, given)
    assert least <= told.count("<heap nr=") <= most


@of_glibc
@pytest.mark.parametrize(
    ("given", "least", "most"), [({}, 1, 1), ({"MALLOC_MMAP_THRESHOLD_": "33554432"}, 0, 0)]
)
def test_a_large_block_lies_in_no_heap_unless_somebody_wants_it(
    tmp_path: Path, given: dict[str, str], least: int, most: int
) -> None:
    """By default the larger one that was freed before would make the heap its place."""
    told = _told(tmp_path, _A_LARGE_BLOCK_AFTER_A_LARGER, given)
    mapped = re.search(r'type="mmap" count="(\d+)" size="(\d+)"', told)
    assert mapped is not None
    assert least <= int(mapped[2]) // (4 << 20) <= most


def _told(folder: Path, program: str, given: dict[str, str]) -> str:
    told = folder / "heaps.xml"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | given
    command = [sys.executable, "-c", _WRITE_WHAT_THE_C_LIBRARY_TELLS + program, str(told)]
    subprocess.run(command, env=environment, check=True, timeout=60)
    return told.read_text()


async def _lookups(found: list[str]) -> None:
    found.append(os.environ["UV_THREADPOOL_SIZE"])


@pytest.mark.parametrize(("said", "used"), [(None, "32"), ("8", "8")])
def test_names_are_looked_up_many_at_once_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, said: str | None, used: str
) -> None:
    monkeypatch.delenv("UV_THREADPOOL_SIZE", raising=False)
    if said is not None:
        monkeypatch.setenv("UV_THREADPOOL_SIZE", said)
    found: list[str] = []
    loop.run(_lookups(found))
    assert found == [used]
