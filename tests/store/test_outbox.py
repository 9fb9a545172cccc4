"""The outbox, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexusd.core.backlog import Backlog
from nexusd.ports import OutboxMessage, Transaction
from nexusd.store import outbox as outbox_module
from nexusd.store.store import SqlStore
from tests.fakes import outbox_page
from tests.store.conftest import Opener


def message(key: str, created_at: float = 0.0, receiver: str = "ops", **more: object) -> OutboxMessage:
    made = OutboxMessage(key, receiver, f"body of {key}\0".encode(), created_at, created_at + 86_400)
    return replace(made, **more)  # type: ignore[arg-type]


async def add(store: SqlStore, *messages: OutboxMessage) -> None:
    await store.run(lambda tx: tx.outbox.add(messages))


async def lease(store: SqlStore, now: float, limit: int = 10, receiver: str = "ops") -> list[str]:
    leased = await store.run(lambda tx: tx.outbox.lease(receiver, now, 30.0, limit, 1 << 20))
    return [m.id for m in leased]


async def test_no_more_bytes_are_leased_than_are_asked_for_but_one_message_is(store: SqlStore) -> None:
    """Of large messages to a receiver that is down there may be hundreds."""
    rows = [replace(message(str(n), created_at=float(n)), body=b"x" * 100) for n in range(1, 6)]
    await store.run(lambda tx: tx.outbox.add(rows))
    one = await store.run(lambda tx: tx.outbox.lease("ops", 10.0, 30.0, 5, 1))
    two = await store.run(lambda tx: tx.outbox.lease("ops", 10.0, 30.0, 5, 101))
    rest = await store.run(lambda tx: tx.outbox.lease("ops", 10.0, 30.0, 5, 1 << 20))
    assert [[m.id for m in leased] for leased in (one, two, rest)] == [
        [rows[0].id],
        [rows[1].id, rows[2].id],
        [rows[3].id, rows[4].id],
    ]
    assert all(m.body == rows[0].body and m.leased_until == 40.0 for m in (*one, *two, *rest))


async def test_the_oldest_due_messages_of_the_receiver_are_leased(store: SqlStore) -> None:
    await add(
        store,
        message("c", 3.0),
        message("a", 1.0, next_try_at=9.0),
        message("b", 2.0),
        message("later", 0.0, next_try_at=11.0),
        message("other", 0.0, receiver="web"),
    )
    leased = await store.run(lambda tx: tx.outbox.lease("ops", 10.0, 30.0, 2, 1 << 20))
    assert leased == [
        message("a", 1.0, next_try_at=9.0, leased_until=40.0),
        message("b", 2.0, leased_until=40.0),
    ]
    assert await lease(store, 10.0) == ["c"]


async def test_a_leased_message_is_given_again_only_when_its_lease_ends(store: SqlStore) -> None:
    await add(store, message("a"))
    assert await lease(store, 10.0) == ["a"]
    assert await lease(store, 39.9) == []
    assert await lease(store, 40.0) == ["a"]


async def test_finishing_writes_the_outcome_and_gives_up_the_lease(store: SqlStore) -> None:
    await add(store, message("a"))
    (leased,) = await store.run(lambda tx: tx.outbox.lease("ops", 10.0, 30.0, 1, 1 << 20))
    failed = replace(leased, tries=1, next_try_at=15.0, last_error="503")
    await store.run(lambda tx: tx.outbox.finish([failed]))
    assert await store.run(lambda tx: tx.outbox.next_due("ops")) == 15.0
    assert await store.run(lambda tx: outbox_page(tx, "pending", 5, 0)) == (
        [replace(failed, leased_until=None)],
        1,
    )
    assert await lease(store, 14.9) == []
    assert await lease(store, 15.0) == ["a"]


async def test_what_was_delivered_is_sent_after_one_try_more(store: SqlStore) -> None:
    await add(store, message("a", tries=2, last_error="503"), message("b"), message("c"))
    await store.run(lambda tx: tx.outbox.lease("ops", 10.0, 30.0, 2, 1 << 20))
    await store.run(lambda tx: tx.outbox.delivered([("a", 11.0), ("b", 12.0)]))
    sent, _ = await store.run(lambda tx: outbox_page(tx, "sent", 5, 0))
    found = {row.id: row for row in sent}
    assert found == {
        "a": message("a", tries=3, state="sent", ended_at=11.0),
        "b": message("b", tries=1, state="sent", ended_at=12.0),
    }
    assert await lease(store, 50.0) == ["c"]


async def test_next_due_is_the_earliest_pending_and_counts_leases(store: SqlStore) -> None:
    assert await store.run(lambda tx: tx.outbox.next_due("ops")) is None
    await add(store, message("a", next_try_at=5.0), message("b", next_try_at=50.0))
    assert await store.run(lambda tx: tx.outbox.next_due("ops")) == 5.0
    assert await lease(store, 6.0) == ["a"]
    assert await store.run(lambda tx: tx.outbox.next_due("ops")) == 36.0


async def test_leases_of_an_earlier_process_are_released(opened: Opener) -> None:
    first = opened()
    await add(first, message("a", next_try_at=5.0))
    assert await lease(first, 10.0) == ["a"]
    await first.close()
    second = opened()
    await second.run(lambda tx: tx.outbox.release_leases())
    assert await lease(second, 10.0) == ["a"]


async def test_sent_and_dead_messages_are_leased_no_more(store: SqlStore) -> None:
    await add(store, message("s", state="sent", ended_at=1.0), message("d", state="dead", ended_at=1.0))
    assert await lease(store, 100.0) == []


async def test_messages_are_counted_by_receiver_and_state(store: SqlStore) -> None:
    await add(store, message("a"), message("b"), message("c", receiver="web", state="dead"))
    assert await store.run(lambda tx: tx.outbox.counts()) == {("ops", "pending"): 2, ("web", "dead"): 1}


async def test_the_oldest_pending_is_told_by_receiver(store: SqlStore) -> None:
    await add(
        store, message("a", 7.0), message("b", 3.0), message("c", 1.0, state="sent"), message("d", 9.0, "web")
    )
    assert await store.run(lambda tx: tx.outbox.oldest_pending()) == {"ops": 3.0, "web": 9.0}


async def test_pages_are_newest_first_with_the_total(store: SqlStore) -> None:
    await add(store, *(message(f"m{n}", float(n)) for n in range(5)), message("dead", 9.0, state="dead"))
    page, total = await store.run(lambda tx: outbox_page(tx, None, 2, 1))
    assert ([m.id for m in page], total) == (["m4", "m3"], 6)
    page, total = await store.run(lambda tx: outbox_page(tx, "dead", 2, 0))
    assert ([m.id for m in page], total) == (["dead"], 1)


async def test_a_dead_message_is_replayed_with_its_lifetime_anew(store: SqlStore) -> None:
    await add(store, message("a", state="dead", tries=9, ended_at=90_000.0), message("b", state="dead"))
    assert await store.run(lambda tx: tx.outbox.replay("a", 100_000.0)) == 1
    (replayed,) = await store.run(lambda tx: tx.outbox.lease("ops", 100_000.0, 30.0, 5, 1 << 20))
    assert (replayed.id, replayed.tries, replayed.ended_at) == ("a", 0, None)
    assert replayed.expires_at == 186_400.0


async def test_all_dead_messages_for_some_are_replayed_and_no_others(store: SqlStore) -> None:
    dead = [message(key, state="dead") for key in "ab"]
    await add(store, *dead, message("c", state="sent"), message("d", state="dead", receiver="removed"))
    assert await store.run(lambda tx: tx.outbox.replay_all(["ops", "other"], 10.0)) == 2
    assert await store.run(lambda tx: tx.outbox.replay("c", 10.0)) == 0
    assert await store.run(lambda tx: tx.outbox.replay("unknown", 10.0)) == 0
    assert await lease(store, 10.0) == ["a", "b"]
    assert await lease(store, 10.0, receiver="removed") == []


async def test_one_message_is_found_by_its_id(store: SqlStore) -> None:
    await add(store, message("a"), message("b"))
    assert await store.run(lambda tx: tx.outbox.get("b")) == message("b")
    assert await store.run(lambda tx: tx.outbox.get("c")) is None


async def test_ended_messages_are_forgotten_within_a_bound_and_pending_ones_kept(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "FORGET_AT_MOST", 2)
    sent = [message(f"s{n}", state="sent", ended_at=float(n)) for n in range(4)]
    dead = [message(f"d{n}", state="dead", ended_at=float(n)) for n in (0, 5)]
    await add(store, *sent, *dead, message("pending"))
    counts = [await store.run(lambda tx: tx.outbox.forget_ended(3.0)) for _ in range(3)]
    assert counts == [3, 1, 0]
    page, _ = await store.run(lambda tx: outbox_page(tx, None, 10, 0))
    assert {m.id for m in page} == {"s3", "d5", "pending"}


async def test_what_waits_for_a_receiver_that_is_no_more_is_dead_and_can_be_replayed(store: SqlStore) -> None:
    await add(
        store,
        message("a", receiver="old"),
        message("b", receiver="old", state="sent"),
        message("c", receiver="gone", leased_until=99.0),
        message("d", receiver="ops"),
    )
    assert await store.run(lambda tx: tx.outbox.abandon(["ops", "new"], 10.0)) == 2
    assert await store.run(lambda tx: tx.outbox.abandon(["ops", "new"], 10.0)) == 0
    page, _ = await store.run(lambda tx: outbox_page(tx, "dead", 10, 0))
    assert {(m.id, m.leased_until, m.ended_at) for m in page} == {("a", None, 10.0), ("c", None, 10.0)}
    assert "no such receiver" in (page[0].last_error or "")
    assert await store.run(lambda tx: tx.outbox.replay("c", 20.0)) == 1
    assert await lease(store, 20.0, receiver="gone") == ["c"]


async def test_the_backlog_is_what_is_dead_and_what_waits(store: SqlStore) -> None:
    await add(
        store,
        message("a", 3.0),
        message("b", 1.0, leased_until=99.0),
        message("c", 0.0, state="sent", ended_at=9.0),
        message("d", 0.0, state="dead", ended_at=5.0),
        message("e", 2.0, state="dead", ended_at=7.0),
        message("f", 4.0, receiver="am/2"),
        message("g", 0.0, receiver="fine", state="sent", ended_at=9.0),
    )
    assert await store.run(lambda tx: tx.outbox.backlog()) == [
        Backlog("am/2", waiting=1, waiting_since=4.0),
        Backlog("ops", dead=2, dead_at=7.0, waiting=2, waiting_since=1.0),
    ]


def test_an_address_tells_its_receiver() -> None:
    assert (Backlog("ops").receiver, Backlog("am/2").receiver) == ("ops", "am")


async def test_the_failed_ones_of_a_receiver_are_found_oldest_first(store: SqlStore) -> None:
    await add(
        store,
        message("a", 3.0, tries=1),
        message("b", 1.0, tries=2),
        message("c", 2.0),
        message("d", 0.0, tries=1, state="dead"),
        message("e", 0.0, tries=1, receiver="web"),
        message("f", 2.0, tries=1),
    )
    found = await store.run(lambda tx: list(tx.outbox.failed("ops", 2)))
    assert [m.id for m in found] == ["b", "f"]


@pytest.mark.parametrize(
    ("match", "state", "expected"),
    [
        ("msg_a", None, ["msg_a2", "msg_a1"]),
        ("msg_a1", None, ["msg_a1"]),
        ("msg_b", None, []),
        ("msg", "dead", ["msg_B"]),
    ],
)
async def test_a_message_is_found_by_the_beginning_of_its_id(
    store: SqlStore, match: str, state: str | None, expected: list[str]
) -> None:
    await add(store, message("msg_a1", 1.0), message("msg_a2", 2.0), message("msg_B", 3.0, state="dead"))

    def transaction(tx: Transaction) -> tuple[list[str], int]:
        rows, total = tx.outbox.find(match, state, 9, 0)
        return [row.id for row in rows], total

    assert await store.run(transaction) == (expected, len(expected))
