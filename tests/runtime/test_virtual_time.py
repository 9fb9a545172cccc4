"""The ruler itself: virtual time must be right before anything is measured with it."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
from aiohttp import web

from tests.virtual_time import VIRTUAL_EPOCH, VirtualClock, VirtualTimeError, in_virtual_time, run_virtual


@in_virtual_time
async def test_a_day_passes_without_waiting() -> None:
    clock = VirtualClock()
    began = time.monotonic()
    await asyncio.sleep(86_400.0)
    assert clock.now() == VIRTUAL_EPOCH + 86_400.0
    assert time.monotonic() - began < 1.0


@in_virtual_time
async def test_timers_fire_in_order_at_their_own_time() -> None:
    loop = asyncio.get_running_loop()
    seen: list[tuple[str, float]] = []

    async def note(name: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        seen.append((name, loop.time()))

    async with asyncio.TaskGroup() as group:
        group.create_task(note("late", 20.0))
        group.create_task(note("early", 10.0))
    assert seen == [("early", 10.0), ("late", 20.0)]


@in_virtual_time
async def test_a_time_out_is_virtual_too() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600.0):
            await asyncio.Event().wait()


@in_virtual_time
async def test_executors_run_inline_and_take_no_time() -> None:
    loop = asyncio.get_running_loop()
    assert await asyncio.to_thread(lambda: loop.time()) == loop.time()
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(lambda: 1 / 0)


@in_virtual_time
async def test_aiohttp_talks_to_itself_over_loopback() -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(30.0)
        return web.Response(text="x" * 1_000_000)

    loop = asyncio.get_running_loop()
    app = web.Application()
    app.router.add_get("/", slow)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession() as session:
            for _ in range(20):
                began = loop.time()
                async with session.get(f"http://{host}:{port}/") as answer:
                    assert len(await answer.read()) == 1_000_000
                assert loop.time() - began == pytest.approx(30.0)
    finally:
        await runner.cleanup()


def test_a_run_that_passes_its_limit_is_stopped() -> None:
    async def forever() -> None:
        while True:
            await asyncio.sleep(60.0)

    with pytest.raises(VirtualTimeError):
        run_virtual(forever(), limit_s=3600.0)
