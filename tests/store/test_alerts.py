"""Alerts and the notification log, on both databases."""

from __future__ import annotations

from nexusd.core.alerts import Alert, AlertState
from nexusd.ports import LoggedNotification
from nexusd.store.store import SqlStore

FIRING = Alert(
    "00ff",
    (("alertname", "RegionUnhealthy"), ("region", "eu-1")),
    (("summary", "eu-1 ist krank \0 🤒"),),
    AlertState.FIRING,
    active_at=1.0,
    fired_at=2.0,
    resolved_at=None,
    keep_firing_since=3.0,
    expired=True,
    settled=True,
    changes=(1.5, 2.0),
    flapping_since=2.5,
)


async def test_an_alert_comes_back_with_all_that_is_remembered_of_it(store: SqlStore) -> None:
    await store.run(lambda tx: tx.alerts.save([FIRING]))
    assert await store.run(lambda tx: tx.alerts.load()) == [FIRING]


async def test_an_alert_is_replaced_by_its_fingerprint(store: SqlStore) -> None:
    resolved = Alert("00ff", FIRING.labels, (), AlertState.RESOLVED, 1.0, 2.0, 9.0)
    await store.run(lambda tx: tx.alerts.save([FIRING]))
    await store.run(lambda tx: tx.alerts.save([resolved]))
    assert await store.run(lambda tx: tx.alerts.load()) == [resolved]


async def test_removed_alerts_are_gone(store: SqlStore) -> None:
    other = Alert("11aa", (), (), AlertState.PENDING, 1.0)
    await store.run(lambda tx: tx.alerts.save([FIRING, other]))
    await store.run(lambda tx: tx.alerts.remove(["00ff", "unknown"]))
    assert await store.run(lambda tx: tx.alerts.load()) == [other]


async def test_what_a_receiver_was_told_is_replaced_by_receiver_and_group(store: SqlStore) -> None:
    first = LoggedNotification("ops", "{}:x", 1.0, frozenset({"a", "b"}), frozenset())
    second = LoggedNotification("ops", "{}:x", 2.0, frozenset({"b"}), frozenset({"a"}))
    other = LoggedNotification("ops", "{}:y", 2.0, frozenset(), frozenset())
    await store.run(lambda tx: tx.notification_log.save([first]))
    await store.run(lambda tx: tx.notification_log.save([second, other]))
    assert await store.run(lambda tx: tx.notification_log.load()) == [second, other]


async def test_a_group_can_be_forgotten(store: SqlStore) -> None:
    entries = [LoggedNotification("ops", key, 1.0, frozenset(), frozenset()) for key in ("x", "y")]
    await store.run(lambda tx: tx.notification_log.save(entries))
    await store.run(lambda tx: tx.notification_log.remove([("ops", "x"), ("nobody", "y")]))
    assert await store.run(lambda tx: tx.notification_log.load()) == entries[1:]
