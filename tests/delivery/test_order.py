"""Messages about one group arrive in the order they were made, whatever fails in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from tests.delivery.receivers import endpoint, message, post, running
from tests.virtual_time import VIRTUAL_EPOCH, in_virtual_time

NOW = VIRTUAL_EPOCH
FIRST, SECOND, THIRD = (message(n, created_at=NOW + n - 5, group="g") for n in (1, 2, 3))


def delivered(ids: list[str], answers: list[int]) -> list[str]:
    return [i for i, answer in zip(ids, answers, strict=True) if answer == 200]


@in_virtual_time
async def test_a_message_waits_for_the_one_before_it_that_failed(tmp_path: Path) -> None:
    async with endpoint(200, 503) as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(FIRST)
            await asyncio.sleep(0.5)
            await office.add(SECOND)
            await asyncio.sleep(10.0)
        assert ops.ids == [FIRST.id, FIRST.id, SECOND.id]


@in_virtual_time
async def test_messages_added_together_go_one_after_the_other(tmp_path: Path) -> None:
    async def slow_then_quick(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3.0 if len(ops.got) == 1 else 0.0)
        return web.Response()

    async with endpoint(slow_then_quick) as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(FIRST, SECOND, THIRD)
            await asyncio.sleep(10.0)
        assert ops.ids == [FIRST.id, SECOND.id, THIRD.id]
        assert ops.got[1].at >= 3.0


@in_virtual_time
async def test_other_groups_do_not_wait(tmp_path: Path) -> None:
    async with endpoint(200, 503) as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(FIRST)
            await asyncio.sleep(0.1)
            await office.add(message(9, created_at=NOW, group="other"))
            await asyncio.sleep(0.1)
            assert ops.ids == [FIRST.id, "msg_000009"]


@in_virtual_time
async def test_an_outage_of_an_hour_keeps_the_order(tmp_path: Path) -> None:
    answers: list[int] = []

    async def down_for_an_hour(_: web.Request) -> web.StreamResponse:
        answers.append(200 if asyncio.get_running_loop().time() > 3600.0 else 503)
        return web.Response(status=answers[-1])

    async with endpoint(down_for_an_hour) as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            for row in (FIRST, SECOND, THIRD):
                await office.add(row)
                await asyncio.sleep(600.0)
            await asyncio.sleep(3000.0)
        assert delivered(ops.ids, answers) == [FIRST.id, SECOND.id, THIRD.id]


@in_virtual_time
async def test_the_order_holds_over_a_restart(tmp_path: Path) -> None:
    async with endpoint(200, 503, 503, 503) as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(FIRST)
            await asyncio.sleep(10.0)
        office.stop.clear()
        successor = office.worker(ops.url)
        async with running(office, [successor]):
            await office.add(SECOND)
            await asyncio.sleep(120.0)
        assert ops.ids[-2:] == [FIRST.id, SECOND.id]


@in_virtual_time
async def test_a_message_that_alone_is_refused_does_not_block_those_behind_it(tmp_path: Path) -> None:
    async def chokes_on_the_first(request: web.Request) -> web.StreamResponse:
        return web.Response(status=500 if request.headers["webhook-id"] == FIRST.id else 200)

    async with endpoint(chokes_on_the_first) as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(FIRST, SECOND)
            await asyncio.sleep(1800.0)
        assert SECOND.id in ops.ids
        assert await office.states() == {FIRST.id: "pending", SECOND.id: "sent"}


@in_virtual_time
async def test_a_dead_message_lets_the_next_one_through(tmp_path: Path) -> None:
    async with endpoint(200, 503, 400) as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(FIRST, SECOND)
            await asyncio.sleep(30.0)
        assert ops.ids == [FIRST.id, FIRST.id, SECOND.id]


@in_virtual_time
async def test_the_order_outlives_a_restart_however_many_wait_for_others(tmp_path: Path) -> None:
    async with endpoint() as ops, post(tmp_path) as office:
        failed = replace(message(1, "ops", NOW - 60.0, "g"), tries=1, next_try_at=NOW + 100.0)
        others = [message(n, "down", NOW) for n in range(1000, 2100)]
        await office.add(failed, message(2, "ops", NOW - 30.0, "g"), *others)
        office.worker(ops.url)
        async with running(office):
            await asyncio.sleep(99.0)
            assert ops.ids == []
            await asyncio.sleep(2.0)
        assert ops.ids == ["msg_000001", "msg_000002"]
