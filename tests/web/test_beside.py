"""Answers about many alerts are not made on the event loop, where everybody would wait for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from nexusd.core.alerts import Alert
from nexusd.web.beside import ALERTS_ON_LOOP
from tests.web.fakes import alert
from tests.web.site import Site


class WatchedAlerts(dict[str, Alert]):
    """Knows which threads have looked at all of them."""

    def __init__(self, count: int) -> None:
        alerts = [alert("InstanceStopped", instance_id=f"inst_{number}") for number in range(count)]
        super().__init__({a.fingerprint: a for a in alerts})
        self.looked_at_by: set[int] = set()

    def values(self) -> Iterator[Alert]:  # type: ignore[override]
        self.looked_at_by.add(threading.get_ident())
        yield from super().values()


PATHS = ("/api/v1/alerts", "/api/v1/status", "/api/v2/alerts", "/api/v2/alerts/groups")


@pytest.mark.parametrize("path", PATHS)
async def test_many_alerts_are_looked_at_beside_the_event_loop(site: Site, path: str) -> None:
    alerts = site.daemon.world.alerts = WatchedAlerts(ALERTS_ON_LOOP + 1)
    answer = await site.get(path)
    assert answer.status == 200
    assert alerts.looked_at_by
    assert threading.get_ident() not in alerts.looked_at_by


@pytest.mark.parametrize("path", PATHS)
async def test_for_a_few_no_thread_is_asked(site: Site, path: str) -> None:
    alerts = site.daemon.world.alerts = WatchedAlerts(ALERTS_ON_LOOP)
    await site.get(path)
    assert alerts.looked_at_by == {threading.get_ident()}
