"""A commit that writes a message hands it to its worker, leased: sent at once, and never out of order."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from nexusd.delivery.hand import HANDED_OVER, HANDED_OVER_BYTES, Hand
from nexusd.delivery.worker import DeliveryWorker
from nexusd.ports import OutboxMessage
from tests.delivery.receivers import Post, endpoint, hang, message, post, running
from tests.virtual_time import VIRTUAL_EPOCH, in_virtual_time

NOW = VIRTUAL_EPOCH


async def claimed(office: Post, worker: DeliveryWorker, row: OutboxMessage) -> OutboxMessage:
    """As the cycle does: the row is written leased, if the worker claims it."""
    written = replace(row, leased_until=worker.claim(len(row.body), office.clock.now()))
    await office.store.run(lambda tx: tx.outbox.add([written]))
    return written


@in_virtual_time
async def test_what_is_handed_over_is_sent_and_marked(tmp_path: Path) -> None:
    async with endpoint() as ops, post(tmp_path) as office:
        worker = office.worker(ops.url)
        async with running(office):
            await asyncio.sleep(0.1)
            row = await claimed(office, worker, message(created_at=office.clock.now()))
            assert row.leased_until is not None
            worker.take([row])
            await asyncio.sleep(0.001)
            assert ops.ids == [row.id]
        assert await office.states() == {row.id: "sent"}


@in_virtual_time
async def test_what_was_claimed_and_never_taken_is_sent_when_its_lease_has_run_out(tmp_path: Path) -> None:
    async with endpoint() as ops, post(tmp_path) as office:
        worker = office.worker(ops.url)
        async with running(office):
            await asyncio.sleep(0.1)
            row = await claimed(office, worker, message(created_at=office.clock.now()))
            assert row.leased_until is not None
            await asyncio.sleep(row.leased_until - office.clock.now() + 31.0)
        assert ops.ids == [row.id]


@in_virtual_time
async def test_nothing_is_claimed_before_the_outbox_was_read_nor_after_something_was_added(
    tmp_path: Path,
) -> None:
    async with endpoint() as ops, post(tmp_path) as office:
        worker = office.worker(ops.url)
        assert worker.claim(1, NOW) is None
        async with running(office):
            await asyncio.sleep(0.1)
            assert worker.claim(1, NOW) is not None
            worker.wake()
            assert worker.claim(1, NOW) is None
            await asyncio.sleep(0.1)
            assert worker.claim(1, NOW) is not None
            office.stop.set()
            assert worker.claim(1, NOW) is None


@in_virtual_time
async def test_one_that_is_handed_over_while_older_ones_wait_comes_after_them(tmp_path: Path) -> None:
    async with endpoint() as ops, post(tmp_path) as office:
        worker = office.worker(ops.url)
        async with running(office):
            await asyncio.sleep(0.1)
            newer = await claimed(office, worker, message(2, created_at=office.clock.now(), group="g"))
            await office.add(message(1, created_at=office.clock.now() - 1.0, group="g"))
            worker.take([newer])
            await asyncio.sleep(0.1)
        assert ops.ids == ["msg_000001", "msg_000002"]


@in_virtual_time
async def test_what_fits_no_more_waits_in_the_outbox_and_so_does_what_comes_after_it(tmp_path: Path) -> None:
    async with endpoint() as ops, post(tmp_path) as office:
        worker = office.worker(ops.url)
        async with running(office):
            await asyncio.sleep(0.1)
            assert worker.claim(HANDED_OVER_BYTES + 1, NOW) is None
            assert worker.claim(1, NOW) is None
            await office.add(message(created_at=office.clock.now()))
            await asyncio.sleep(0.1)
            assert worker.claim(1, NOW) is not None
        assert ops.ids == ["msg_000001"]


@in_virtual_time
async def test_a_retry_after_gives_everything_back_and_keeps_the_order(tmp_path: Path) -> None:
    async def busy_at_first(_: web.Request) -> web.StreamResponse:
        if len(ops.got) == 1:
            return web.Response(status=429, headers={"Retry-After": "60"})
        return web.Response()

    async with endpoint(busy_at_first) as ops, post(tmp_path) as office:
        worker = office.worker(ops.url)
        async with running(office):
            await asyncio.sleep(0.1)
            at = office.clock.now()
            rows = [await claimed(office, worker, message(n, created_at=at, group="g")) for n in range(4)]
            worker.take(rows)
            await asyncio.sleep(90.0)
        assert ops.ids == [rows[0].id, *(row.id for row in rows)]
        assert set((await office.states()).values()) == {"sent"}


@in_virtual_time
async def test_the_stop_gives_back_what_was_handed_over_and_not_sent(tmp_path: Path) -> None:
    async with endpoint(hang) as ops, post(tmp_path) as office:
        worker = office.worker(ops.url)
        async with running(office):
            await asyncio.sleep(0.1)
            at = office.clock.now()
            rows = [await claimed(office, worker, message(n, created_at=at)) for n in range(50)]
            worker.take(rows)
            await asyncio.sleep(1.0)
        untried = [row for row in (await office.rows()).values() if row.tries == 0]
        assert len(untried) == 50 - 32
        assert all(row.leased_until is None and row.state == "pending" for row in untried)


def test_a_hand_is_bounded_in_number() -> None:
    hand = Hand()
    assert all(hand.claim(1) for _ in range(HANDED_OVER))
    assert not hand.claim(1)
    hand.claimed(1)
    assert hand.claim(1)


def test_a_hand_is_bounded_in_size_and_empty_again_when_all_is_done() -> None:
    hand, row = Hand(), message()
    assert hand.claim(len(row.body))
    hand.claimed(len(row.body))
    hand.add(row)
    assert not hand.claim(HANDED_OVER_BYTES - len(row.body) + 1)
    hand.drop(row)
    assert hand.claim(HANDED_OVER_BYTES)


@in_virtual_time
async def test_nothing_is_claimed_once_a_failed_message_is_due_again(tmp_path: Path) -> None:
    """Else what is said of its group now would be sent before it."""
    async with endpoint(200, 503) as ops, post(tmp_path) as office:
        worker = office.worker(ops.url)
        async with running(office):
            await office.add(message(created_at=NOW))
            await asyncio.sleep(0.1)
            (row,) = (await office.rows()).values()
            assert worker.claim(1, row.next_try_at - 0.001) is not None
            assert worker.claim(1, row.next_try_at) is None
