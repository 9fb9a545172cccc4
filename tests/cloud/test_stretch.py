"""Answers that came together are not all decoded before anybody else has a turn."""

from __future__ import annotations

import asyncio
import time

from nexusd.cloud.limits import LONGEST_STRETCH_S, Stretch


async def test_after_a_long_stretch_of_decoding_others_have_their_turn() -> None:
    stretch = Stretch()
    order: list[int] = []

    async def decoded(number: int) -> None:
        await stretch.turn()
        with stretch:
            order.append(number)
            busy_until = time.perf_counter() + LONGEST_STRETCH_S
            while time.perf_counter() < busy_until:
                pass

    async def others() -> None:
        while len([n for n in order if n]) < 3:
            order.append(0)
            await asyncio.sleep(0)

    await asyncio.gather(decoded(1), decoded(2), decoded(3), others())
    between = [order.index(2) - order.index(1), order.index(3) - order.index(2)]
    assert min(between) > 1


async def test_short_decoding_waits_for_nobody() -> None:
    stretch = Stretch()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    watching = asyncio.ensure_future(others())
    await asyncio.sleep(0)
    before = turns
    for _ in range(5):
        await stretch.turn()
        with stretch:
            pass
    assert turns < before + 3  # the machine may take the processor away in the middle
    watching.cancel()
