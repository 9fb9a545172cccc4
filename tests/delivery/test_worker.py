"""The worker: at least once, the retry table, and nobody's trouble but one's own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from nexusd.core.errors import LeaseLostError, StoreUnavailableError
from nexusd.delivery.worker import MAX_DELIVERED_LINES, DeliveryWorker
from nexusd.ports import Delivery, OutboxMessage, Store, Transaction
from tests.delivery.receivers import Post, endpoint, hang, message, post, running, status
from tests.virtual_time import VIRTUAL_EPOCH, in_virtual_time

NOW = VIRTUAL_EPOCH
HOUR = 3600.0


@in_virtual_time
async def test_a_message_is_sent_and_marked(tmp_path: Path) -> None:
    async with endpoint() as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(message(created_at=NOW))
            await asyncio.sleep(0.1)
        assert ops.ids == ["msg_000001"]
        assert ops.got[0].body == message().body
        row = (await office.rows())["msg_000001"]
        assert (row.state, row.tries, row.last_error) == ("sent", 1, None)
        assert office.metrics.counts["notification", "ops", ""] == 1
        assert office.metrics.counts["notification_request", "ops", "200"] == 1


@pytest.mark.parametrize(("messages", "lines"), [(1, 1), (MAX_DELIVERED_LINES + 1, 0)])
@in_virtual_time
async def test_a_delivery_is_logged_and_many_are_counted(tmp_path: Path, messages: int, lines: int) -> None:
    async with endpoint() as ops, post(tmp_path) as office:
        office.worker(ops.url)
        with capture_logs() as logged:
            async with running(office):
                await office.add(*(message(n, created_at=NOW) for n in range(1, messages + 1)))
                await asyncio.sleep(1.0)
        single = [line for line in logged if line["event"] == "notification_delivered"]
        assert len(single) == lines
        assert [(line["receiver"], line["message"], line["tries"]) for line in single] == [
            ("ops", "msg_000001", 1)
        ] * lines
        together = [line["messages"] for line in logged if line["event"] == "notifications_delivered"]
        assert sum(together) == messages - lines
        assert ops.url not in str(logged)


@in_virtual_time
async def test_a_wake_makes_it_look_at_once(tmp_path: Path) -> None:
    async with endpoint() as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await asyncio.sleep(5.0)
            await office.add(message(created_at=office.clock.now()))
            await asyncio.sleep(0.001)
            assert ops.got[0].at == pytest.approx(5.0, abs=0.001)


@in_virtual_time
async def test_a_failure_is_tried_again_within_five_seconds_with_the_same_id(tmp_path: Path) -> None:
    async with endpoint(200, 503) as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(message(created_at=NOW))
            await asyncio.sleep(5.5)
        assert ops.ids == ["msg_000001"] * 2
        assert await office.states() == {"msg_000001": "sent"}


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 599])
def test_these_are_tried_again(code: int, tmp_path: Path) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with endpoint(200, code) as ops, post(tmp_path) as office:
            office.worker(ops.url)
            async with running(office):
                await office.add(message(created_at=NOW))
                await asyncio.sleep(20.0)
            assert len(ops.got) == 2

    scenario()


@pytest.mark.parametrize("code", [300, 301, 302, 307, 308, 400, 401, 403, 404, 413, 422])
def test_these_are_dead_at_once(code: int, tmp_path: Path) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with endpoint(code) as ops, post(tmp_path) as office:
            office.worker(ops.url)
            async with running(office):
                await office.add(message(created_at=NOW))
                await asyncio.sleep(HOUR)
            row = (await office.rows())["msg_000001"]
            assert (len(ops.got), row.state) == (1, "dead")
            assert str(code) in (row.last_error or "")
            assert office.metrics.counts["notification", "ops", "rejected"] == 1

    scenario()


@in_virtual_time
async def test_a_receiver_that_is_down_for_ten_minutes_gets_at_most_twenty_tries(tmp_path: Path) -> None:
    async with endpoint(503) as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(*(message(n, created_at=NOW) for n in range(8)))
            await asyncio.sleep(600.0)
        assert max(ops.ids.count(i) for i in set(ops.ids)) <= 20
        assert len(set(ops.ids)) == 8


@in_virtual_time
async def test_no_more_than_five_minutes_pass_between_tries(tmp_path: Path) -> None:
    async with endpoint(503) as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(message(created_at=NOW))
            await asyncio.sleep(1.5 * HOUR)
        gaps = [b.at - a.at for a, b in pairwise(ops.got)]
        assert max(gaps) <= 300.5


@in_virtual_time
async def test_when_it_expires_it_is_dead_and_counted(tmp_path: Path) -> None:
    async with endpoint(503) as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(replace(message(created_at=NOW), expires_at=NOW + 1000.0))
            await asyncio.sleep(1500.0)
        row = (await office.rows())["msg_000001"]
        assert row.state == "dead"
        assert ops.got[-1].at == pytest.approx(1000.0, abs=1.0)
        assert office.metrics.counts["notification", "ops", "expired"] == 1


@in_virtual_time
async def test_a_message_found_long_after_it_expired_is_still_tried_once(tmp_path: Path) -> None:
    async with endpoint() as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(message(created_at=NOW - 72 * HOUR))
            await asyncio.sleep(1.0)
        assert await office.states() == {"msg_000001": "sent"}


@in_virtual_time
async def test_retry_after_holds_the_whole_receiver_back(tmp_path: Path) -> None:
    async with endpoint(200, status(429, Retry_After="120")) as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(message(1, created_at=NOW))
            await asyncio.sleep(1.0)
            await office.add(message(2, created_at=NOW + 1.0))
            await asyncio.sleep(118.0)
            assert len(ops.got) == 1
            await asyncio.sleep(30.0)
        assert sorted(ops.ids) == ["msg_000001", "msg_000001", "msg_000002"]


@in_virtual_time
async def test_retry_after_is_clamped_to_five_minutes(tmp_path: Path) -> None:
    async with endpoint(200, status(503, Retry_After="86400")) as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(message(created_at=NOW))
            await asyncio.sleep(301.0)
        assert [round(got.at) for got in ops.got] == [0, 300]


@in_virtual_time
async def test_410_disables_the_receiver_and_what_comes_is_dead_unsent(tmp_path: Path) -> None:
    async with endpoint(410) as ops, post(tmp_path) as office:
        worker = office.worker(ops.url)
        async with running(office):
            await office.add(message(1, created_at=NOW))
            await asyncio.sleep(1.0)
            await office.add(message(2, created_at=NOW))
            await asyncio.sleep(1.0)
        assert worker.disabled
        assert ops.ids == ["msg_000001"]
        assert await office.count("dead") == 2
        assert office.metrics.counts["notification", "ops", "gone"] == 2


@in_virtual_time
async def test_half_of_all_answers_failing_loses_nothing(tmp_path: Path) -> None:
    """I3: fired = delivered, pending or dead."""
    chance = Random(7)

    async def moody(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503 if chance.random() < 0.5 else 200)

    async with endpoint(moody) as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(*(message(n, created_at=NOW) for n in range(60)))
            await asyncio.sleep(HOUR)
        assert await office.count("sent") == 60
        assert len(set(ops.ids)) == 60


@in_virtual_time
async def test_a_receiver_that_hangs_does_not_delay_another(tmp_path: Path) -> None:
    async with endpoint(hang) as slow, endpoint() as quick, post(tmp_path) as office:
        office.worker(slow.url, "slow")
        office.worker(quick.url, "quick")
        async with running(office):
            await office.add(*(message(n, "slow", NOW) for n in range(200)))
            await asyncio.sleep(1.0)
            await office.add(*(message(n, "quick", NOW) for n in range(1000, 1200)))
            await asyncio.sleep(1.0)
            assert len(quick.got) == 200
            assert max(got.at for got in quick.got) < 1.1


@in_virtual_time
async def test_requests_at_once_are_bounded(tmp_path: Path) -> None:
    busy, most = 0, 0

    async def slow(_: web.Request) -> web.StreamResponse:
        nonlocal busy, most
        busy, most = busy + 1, max(most, busy + 1)
        await asyncio.sleep(1.0)
        busy -= 1
        return web.Response()

    async with endpoint(slow) as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(*(message(n, created_at=NOW) for n in range(200)))
            await asyncio.sleep(30.0)
        assert most == 32
        assert await office.count("sent") == 200


@in_virtual_time
async def test_the_stop_waits_for_what_is_under_way_and_records_it(tmp_path: Path) -> None:
    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3.0)
        return web.Response()

    async with endpoint(slow) as ops, post(tmp_path) as office:
        office.worker(ops.url)
        async with running(office):
            await office.add(*(message(n, created_at=NOW) for n in range(100)))
            await asyncio.sleep(1.0)
        assert len(ops.got) == 32
        rows = await office.rows()
        assert sum(row.state == "sent" for row in rows.values()) == 32
        assert all(
            row.leased_until is None and row.tries == 0 for row in rows.values() if row.state != "sent"
        )


@in_virtual_time
async def test_a_crash_between_send_and_mark_sends_again_with_the_same_id(tmp_path: Path) -> None:
    async with endpoint() as ops, post(tmp_path) as office:
        await office.add(message(created_at=NOW))
        crashing = office.worker(ops.url, store=CrashesBeforeMarking(office.store))
        with pytest.raises(ExceptionGroup):
            await crashing.run(office.stop)
        assert (await office.states(), len(ops.got)) == ({"msg_000001": "pending"}, 1)
        await office.store.run(lambda tx: tx.outbox.release_leases())
        successor = office.worker(ops.url)
        async with running(office, [successor]):
            await asyncio.sleep(0.1)
        assert ops.ids == ["msg_000001"] * 2
        assert await office.states() == {"msg_000001": "sent"}


@in_virtual_time
async def test_a_lease_that_nobody_gave_back_runs_out(tmp_path: Path) -> None:
    async with endpoint() as ops, post(tmp_path) as office:
        await office.add(message(created_at=NOW))
        await office.store.run(lambda tx: tx.outbox.lease("ops", NOW, 120.0, 10, 1 << 20))
        office.worker(ops.url)
        async with running(office):
            await asyncio.sleep(121.0)
        assert [round(got.at) for got in ops.got] == [120]


@in_virtual_time
async def test_a_store_that_is_away_delays_and_loses_nothing(tmp_path: Path) -> None:
    async with endpoint() as ops, post(tmp_path) as office:
        store = ComesAndGoes(office.store)
        office.worker(ops.url, store=store)
        async with running(office):
            await office.add(message(1, created_at=NOW))
            await asyncio.sleep(1.0)
            store.away = True
            await office.add(message(2, created_at=NOW))
            await asyncio.sleep(30.0)
            assert len(ops.got) == 1
            store.away = False
            await asyncio.sleep(2.0)
        assert await office.count("sent") == 2


@in_virtual_time
async def test_what_was_sent_while_the_store_was_away_is_marked_and_not_sent_again(tmp_path: Path) -> None:
    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(2.0)
        return web.Response()

    async with endpoint(slow) as ops, post(tmp_path) as office:
        store = ComesAndGoes(office.store)
        office.worker(ops.url, store=store)
        async with running(office):
            await office.add(message(created_at=NOW))
            await asyncio.sleep(1.0)
            store.away = True
            await asyncio.sleep(10.0)
            store.away = False
            await asyncio.sleep(300.0)
        assert (len(ops.got), await office.count("sent")) == (1, 1)


@in_virtual_time
async def test_who_no_longer_leads_sends_nothing(tmp_path: Path) -> None:
    async with endpoint() as ops, post(tmp_path) as office:
        await office.add(message(created_at=NOW))
        follower = office.worker(ops.url, store=Deposed(office.store))
        with pytest.raises(ExceptionGroup) as raised:
            await follower.run(office.stop)
        assert raised.value.subgroup(LeaseLostError) is not None
        assert ops.got == []


@in_virtual_time
async def test_a_defect_in_a_receiver_costs_a_try_and_not_the_daemon(tmp_path: Path) -> None:
    async with post(tmp_path) as office:
        receiver = Defective()
        worker = DeliveryWorker(receiver, office.store, office.clock, Random(1), office.metrics)
        office.workers.append(worker)
        async with running(office):
            await office.add(message(created_at=NOW))
            await asyncio.sleep(20.0)
        assert receiver.tries == 2
        assert await office.states() == {"msg_000001": "sent"}


@in_virtual_time
async def test_a_replayed_message_is_sent(tmp_path: Path) -> None:
    async with endpoint(200, 400) as ops, post(tmp_path) as office:
        worker = office.worker(ops.url)
        async with running(office):
            await office.add(message(created_at=NOW))
            await asyncio.sleep(1.0)
            await office.store.run(lambda tx: tx.outbox.replay_all(["ops"], office.clock.now()))
            worker.wake()
            await asyncio.sleep(1.0)
        assert await office.states() == {"msg_000001": "sent"}


async def lost_when_killed_while_sending(office: Post, store: Store) -> set[str]:
    """The ids that are neither delivered nor pending nor dead after a kill in the middle of a send."""
    async with endpoint(hang) as ops:
        worker = office.worker(ops.url, store=store)
        killed = asyncio.create_task(worker.run(office.stop))
        await office.add(message(created_at=NOW))
        await asyncio.sleep(1.0)
        killed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await killed
    return {i for i, state in (await office.states()).items() if state == "sent"}


@in_virtual_time
async def test_a_kill_while_sending_loses_nothing(tmp_path: Path) -> None:
    async with post(tmp_path) as office:
        assert await lost_when_killed_while_sending(office, office.store) == set()


@in_virtual_time
async def test_the_check_of_loss_notices_who_marks_before_sending(tmp_path: Path) -> None:
    async with post(tmp_path) as office:
        assert await lost_when_killed_while_sending(office, MarksFirst(office.store)) == {"msg_000001"}


class _Wrapped:
    """ports.Store around another."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def epoch(self) -> int:
        return self._store.epoch

    @property
    def leading(self) -> bool:
        return self._store.leading

    async def run(self, transaction):  # type: ignore[no-untyped-def]
        return await self._store.run(transaction)

    async def run_leading(self, transaction):  # type: ignore[no-untyped-def]
        return await self._store.run_leading(transaction)


class CrashesBeforeMarking(_Wrapped):
    """Lets the first pass lease, and dies in the second, which would mark."""

    passes = 0

    async def run_leading(self, transaction):  # type: ignore[no-untyped-def]
        self.passes += 1
        if self.passes > 1:
            raise RuntimeError("killed")
        return await self._store.run_leading(transaction)


class MarksFirst(_Wrapped):
    """The broken variant of I3: what is leased is marked as sent before it is."""

    async def run_leading(self, transaction):  # type: ignore[no-untyped-def]
        def marking(tx: Transaction) -> tuple[list[OutboxMessage], float | None]:
            leased, due = transaction(tx)
            for row in leased:
                tx.outbox.finish([replace(row, state="sent")])
            return leased, due

        return await self._store.run_leading(marking)


class ComesAndGoes(_Wrapped):
    away = False

    async def run_leading(self, transaction):  # type: ignore[no-untyped-def]
        if self.away:
            raise StoreUnavailableError("disk full")
        return await self._store.run_leading(transaction)


class Deposed(_Wrapped):
    async def run_leading(self, transaction):  # type: ignore[no-untyped-def]
        raise LeaseLostError("another leads")


class Defective:
    """ports.Receiver whose code fails once."""

    name = "ops"
    tries = 0

    async def send(self, _: OutboxMessage) -> Delivery:
        self.tries += 1
        if self.tries == 1:
            raise ZeroDivisionError
        return Delivery("delivered", "200")

    async def close(self) -> None:
        return


@in_virtual_time
async def test_a_worker_makes_progress_while_the_store_is_away(tmp_path: Path) -> None:
    """Else a full disk would have the watchdog end a daemon that cannot begin again on it."""

    async with endpoint() as ops, post(tmp_path) as office:
        store = ComesAndGoes(office.store)
        worker = office.worker(ops.url, store=store)
        async with running(office):
            await asyncio.sleep(1.0)
            store.away = True
            await office.add(message(created_at=NOW))
            for _ in range(5):
                await asyncio.sleep(60.0)
                assert office.clock.now() - worker.progressed_at < 35.0
            store.away = False
            await asyncio.sleep(60.0)
        assert ops.ids == ["msg_000001"]


@in_virtual_time
async def test_large_messages_that_wait_are_held_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexusd.delivery.hand.HANDED_OVER_BYTES", 250)
    rows = [replace(message(n, created_at=NOW - 100 + n), body=b"x" * 100) for n in range(1, 21)]

    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(5.0)
        return web.Response()

    async with endpoint(slow) as ops, post(tmp_path) as office:
        await office.add(*rows)
        office.worker(ops.url)
        async with running(office):
            await asyncio.sleep(4.0)
            assert len(ops.got) == 3
            await asyncio.sleep(60.0)
        assert sorted(ops.ids) == [row.id for row in rows]
        assert await office.count("sent") == len(rows)
