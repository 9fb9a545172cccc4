"""What a pass has decided is written once, whatever becomes of who asked for it, and only by who leads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nexusd.core.alerts import AlertState
from nexusd.core.errors import StoreBrokenError, StoreError, StoreUnavailableError
from nexusd.core.matchers import matcher
from nexusd.core.notifications import Message, Route, Routing
from nexusd.core.polls import REGIONS
from nexusd.core.records import Instance
from nexusd.core.silences import Silence
from nexusd.cycle import Observers
from nexusd.persistence import PATIENCE_S
from nexusd.ports import OutboxMessage, Transaction
from tests.delivery.receivers import message
from tests.fakes import outbox_page
from tests.test_cycle import Watch, watch
from tests.virtual_time import in_virtual_time

ABOUT = ("web-1", "InstanceStopped")
SEEN = Instance("inst_1", "web-1", "running", "us-east-1")
STOPPED = Instance("inst_1", "web-1", "stopped", "us-east-1")

STOPS = (matcher("alertname", "=", "InstanceStopped"),)
AT_ONCE = Routing({"ops": True}, (Route(("ops",), STOPS, group_wait_s=0.0),))


class Outbox:
    """In the place of deliveries: a row a message, and who was told of which."""

    def __init__(self, here: Watch) -> None:
        self._made = 0
        self._here = here
        self.told: list[str] = []

    async def compose(self, messages: Sequence[Message], now: float) -> list[OutboxMessage]:
        self._made += len(messages)
        return [message(self._made - n, created_at=now) for n in range(len(messages))]

    def added(self, messages: Iterable[OutboxMessage]) -> None:
        self.told += [row.id for row in messages]

    def installed(self) -> Outbox:
        observers = Observers(lambda: None, lambda _: None, self.added)
        parts = replace(self._here.parts, compose=self.compose, observers=observers)
        self._here.cycle.reconfigure(replace(parts, alerting=replace(parts.alerting, routing=AT_ONCE)))
        return self


async def stopped(here: Watch) -> Outbox:
    """An instance ran, and has stopped, which no sweep has shown yet."""
    outbox = Outbox(here).installed()
    here.cloud.put(SEEN)
    await here.poll()
    here.cloud.put(STOPPED)
    return outbox


async def written(here: Watch) -> tuple[list[str], list[str]]:
    """The outbox, and what events say of the instance since it appeared, and of its alert."""
    rows, _ = await here.store.run(lambda tx: outbox_page(tx, None, 100, 0))
    events = await here.store.run(lambda tx: tx.events.since(None, None, 1000))
    told = [e.type for e in events if e.type != "InstanceAppeared" and e.subject.name in ABOUT]
    return [row.id for row in rows], told


async def away(_: Callable[[Transaction], object]) -> object:
    raise StoreUnavailableError("the disk is full")


def delayed(run: Callable[..., Awaitable[object]], delay_s: float) -> Callable[..., Awaitable[object]]:
    """Run each transaction, and return its result `delay_s` later."""

    async def late(work: Callable[[Transaction], object]) -> object:
        done = await run(work)
        await asyncio.sleep(delay_s)
        return done

    return late


@in_virtual_time
async def test_a_pass_that_was_cancelled_while_it_was_committed_is_not_written_again(tmp_path: Path) -> None:
    """As a reload does; else the next pass fails on the messages that are there, and with it the daemon."""
    async with watch(tmp_path) as here:
        before = await stopped(here)
        run_leading = here.store.run_leading

        here.store.run_leading = delayed(run_leading, 1.0)  # type: ignore[method-assign,assignment]
        pass_ = asyncio.ensure_future(here.cycle.poll_instances())
        await asyncio.sleep(0.5)
        pass_.cancel()
        await asyncio.gather(pass_, return_exceptions=True)
        here.store.run_leading = run_leading  # type: ignore[method-assign]
        assert before.told == []
        after = Outbox(here).installed()
        await here.poll()
        rows, events = await written(here)
        assert (len(rows), sorted(events)) == (1, ["AlertFired", "InstanceStatusChanged"])
        assert before.told == rows
        assert after.told == []
        assert here.states("InstanceStopped") == [AlertState.FIRING]


@in_virtual_time
async def test_a_commit_of_which_nobody_told_how_it_ended_is_not_made_again(tmp_path: Path) -> None:
    """PostgreSQL went away in the middle of COMMIT."""
    async with watch(tmp_path) as here:
        outbox = await stopped(here)
        run_leading = here.store.run_leading
        ended: list[object] = []

        async def unknown(work: Callable[[Transaction], object]) -> object:
            ended.append(await run_leading(work))
            raise StoreUnavailableError("the commit may or may not have happened")

        here.store.run_leading = unknown  # type: ignore[method-assign,assignment]
        await here.cycle.poll_instances()
        assert ended
        here.store.run_leading = run_leading  # type: ignore[method-assign]
        await here.poll()
        rows, events = await written(here)
        assert (len(rows), sorted(events)) == (1, ["AlertFired", "InstanceStatusChanged"])
        assert outbox.told == rows


@in_virtual_time
async def test_what_could_not_be_written_is_written_later_in_its_order(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        outbox = await stopped(here)
        run_leading = here.store.run_leading

        here.store.run_leading = away  # type: ignore[method-assign,assignment]
        await here.cycle.poll_instances()
        here.cloud.put(SEEN)
        await here.cycle.poll_instances()
        assert await written(here) == ([], [])
        here.store.run_leading = run_leading  # type: ignore[method-assign]
        await here.cycle.poll_regions()
        rows, events = await written(here)
        assert events.count("InstanceStatusChanged") == 2
        assert outbox.told == rows != []


@in_virtual_time
async def test_the_cycle_makes_progress_while_the_store_can_take_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the watchdog would end a daemon that shows what is, and which could not begin again."""
    monkeypatch.setattr("nexusd.cycle.MOST_UNSAVED", 2)
    async with watch(tmp_path) as here:
        here.store.run_leading = away  # type: ignore[method-assign,assignment]
        for _ in range(4):
            await asyncio.sleep(60.0)
            await here.cycle.poll_regions()
            assert here.clock.now() - here.cycle.progressed_at < 1.0


class Led:
    """A store whose lease comes and goes as told, in the same term."""

    def __init__(self, here: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        self.leading, self.epoch = True, here.store.epoch
        monkeypatch.setattr(type(here.store), "leading", property(lambda _: self.leading))
        monkeypatch.setattr(type(here.store), "epoch", property(lambda _: self.epoch))


@in_virtual_time
async def test_who_led_no_more_for_a_moment_writes_nothing_until_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it dropped meanwhile would never be written, though it takes it for told."""
    async with watch(tmp_path) as here:
        await stopped(here)
        lease = Led(here, monkeypatch)
        lease.leading = False
        await here.cycle.poll_instances()
        lease.leading = True
        assert here.cycle.restored_epoch != here.store.epoch
        await here.poll()
        assert await written(here) == ([], [])
        await here.cycle.restore()
        await here.poll()
        rows, events = await written(here)
        assert (len(rows), sorted(events)) == (1, ["AlertFired", "InstanceStatusChanged"])


@in_virtual_time
async def test_a_new_leader_writes_nothing_before_it_has_read_what_the_last_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watch(tmp_path) as here:
        await stopped(here)
        lease = Led(here, monkeypatch)
        lease.epoch += 1
        await here.cycle.poll_instances()
        assert await written(here) == ([], [])


@in_virtual_time
async def test_a_placement_that_changes_while_placements_are_read_is_read_by_the_next_pass(
    tmp_path: Path,
) -> None:
    async with watch(tmp_path) as here:
        read = here.store.read

        here.store.read = delayed(read, 0.9)  # type: ignore[method-assign,assignment]
        reading = asyncio.ensure_future(here.cycle.poll_regions())
        await asyncio.sleep(0.5)
        here.store.read = read  # type: ignore[method-assign]
        await here.put_held()
        here.cycle.wake()
        await reading
        await asyncio.sleep(1.0)
        assert here.states("PlacementHeld") == [AlertState.FIRING]


HANGS_S = 3600.0


@in_virtual_time
async def test_polls_continue_while_the_store_does_not_respond(tmp_path: Path) -> None:
    """A silent PostgreSQL stopped polls, and the leader blamed the cloud for it."""
    async with watch(tmp_path) as here:
        run_leading, read = here.store.run_leading, here.store.read
        here.store.run_leading = delayed(run_leading, HANGS_S)  # type: ignore[method-assign,assignment]
        here.store.read = delayed(read, HANGS_S)  # type: ignore[method-assign,assignment]
        here.cloud.put(SEEN)
        for _ in range(20):
            await asyncio.sleep(1.0)
            began_at = here.clock.now()
            await here.poll()
            assert here.clock.now() - began_at <= 2 * PATIENCE_S
            assert here.world.polls[REGIONS].age_s(here.clock.now()) <= 2 * PATIENCE_S
        assert here.world.inventory.get(SEEN.id) == SEEN
        assert here.states("CloudAPIUnreachable") == []


@in_virtual_time
async def test_only_the_first_pass_waits_for_a_store_that_does_not_answer(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        here.store.run_leading = delayed(here.store.run_leading, HANGS_S)  # type: ignore[method-assign,assignment]
        here.store.read = delayed(here.store.read, HANGS_S)  # type: ignore[method-assign,assignment]
        await here.cycle.poll_regions()
        began_at = here.clock.now()
        await here.poll()
        assert here.clock.now() == began_at


@in_virtual_time
async def test_a_late_commit_delivers_its_messages_once_and_the_next_passes_follow(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        outbox = await stopped(here)
        run_leading = here.store.run_leading
        here.store.run_leading = delayed(run_leading, 10.0)  # type: ignore[method-assign,assignment]
        await here.cycle.poll_instances()
        here.cloud.put(SEEN)
        await here.cycle.poll_instances()
        assert outbox.told == []
        await asyncio.sleep(20.0)
        rows, events = await written(here)
        assert events.count("InstanceStatusChanged") == 2
        assert outbox.told == rows != []


@in_virtual_time
async def test_an_error_of_a_late_commit_ends_the_next_pass(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:

        async def broken(_: Callable[[Transaction], object]) -> object:
            await asyncio.sleep(5.0)
            raise StoreBrokenError("disk I/O error")

        here.store.run_leading = broken  # type: ignore[method-assign,assignment]
        await here.cycle.poll_regions()
        await asyncio.sleep(10.0)
        with pytest.raises(StoreBrokenError):
            await here.cycle.poll_regions()


@in_virtual_time
async def test_polls_continue_while_a_new_leader_reads_the_stored_state(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        run = here.store.run
        here.store.run = delayed(run, HANGS_S)  # type: ignore[method-assign,assignment]
        restoring = asyncio.ensure_future(here.cycle.restore())
        await asyncio.sleep(1.0)
        began_at = here.clock.now()
        await here.poll()
        assert here.clock.now() == began_at
        here.store.run = run  # type: ignore[method-assign]
        restoring.cancel()


@in_virtual_time
async def test_a_value_that_the_database_refuses_does_not_end_the_daemon(tmp_path: Path) -> None:
    """It would be refused again after each restart.

    The passes wait, and the daemon is not healthy.
    """
    async with watch(tmp_path) as here:
        run_leading = here.store.run_leading

        async def refusing(_: Callable[[Transaction], object]) -> object:
            raise StoreError("index row size 3016 exceeds btree version 4 maximum 2704")

        assert here.cycle.uncommitted_since is None
        began_at = here.clock.now()
        here.store.run_leading = refusing  # type: ignore[method-assign,assignment]
        here.cloud.put(SEEN)
        for _ in range(3):
            await here.poll()
            await asyncio.sleep(10.0)
        assert here.cycle.uncommitted_since == began_at
        here.store.run_leading = run_leading  # type: ignore[method-assign]
        await here.poll()
        assert here.cycle.uncommitted_since is None
        _, events = await written(here)
        assert events == []
        assert (await here.store.run(lambda tx: tx.instances.load()))[0] == {SEEN.id: SEEN}


@in_virtual_time
async def test_a_late_commit_is_not_followed_by_passes_of_an_earlier_term(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another replica may have led meanwhile: they were decided from what it has changed since."""
    async with watch(tmp_path) as here:
        await stopped(here)
        lease = Led(here, monkeypatch)
        run_leading = here.store.run_leading
        here.store.run_leading = delayed(run_leading, 10.0)  # type: ignore[method-assign,assignment]
        await here.cycle.poll_regions()
        await here.cycle.poll_instances()
        lease.epoch += 1
        await asyncio.sleep(30.0)
        assert await written(here) == ([], [])


@in_virtual_time
async def test_passes_of_a_new_term_are_written_although_a_commit_of_the_last_term_was_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As passes of the earlier term they would have been taken for written, since others follow that term."""
    async with watch(tmp_path) as here:
        outbox = await stopped(here)
        lease = Led(here, monkeypatch)
        run_leading = here.store.run_leading
        here.store.run_leading = delayed(run_leading, 10.0)  # type: ignore[method-assign,assignment]
        await here.cycle.poll_regions()
        here.store.run_leading = run_leading  # type: ignore[method-assign]
        lease.epoch += 2
        await here.store.run_leading(lambda tx: tx.passes.save(lease.epoch - 1, 1))
        await here.cycle.restore()
        await here.cycle.poll_instances()
        await asyncio.sleep(30.0)
        await here.poll()
        rows, events = await written(here)
        assert (len(rows), sorted(events)) == (1, ["AlertFired", "InstanceStatusChanged"])
        assert outbox.told == rows


@in_virtual_time
async def test_a_store_that_is_always_late_is_read_all_the_same(tmp_path: Path) -> None:
    """Each result was dropped, so no silence and no placement ever counted."""
    async with watch(tmp_path) as here:
        now = here.clock.now()
        silence = Silence("s1", STOPS, now, now + 3600.0, now, "me", "why")
        await here.store.run(lambda tx: tx.silences.save([silence]))
        await here.put_held()
        here.store.read = delayed(here.store.read, 2 * PATIENCE_S)  # type: ignore[method-assign,assignment]
        for _ in range(3):
            here.cycle.wake()
            await asyncio.sleep(10.0)
        assert here.world.silences == {"s1": silence}
        assert here.states("PlacementHeld") == [AlertState.FIRING]
