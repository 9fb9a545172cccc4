from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexusd.core.errors import ConfigError
from nexusd.runtime.systemd import Notifier, feed_watchdog
from tests.virtual_time import in_virtual_time


class ServiceManager:
    """The other end: what systemd would read."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))
        self.socket.setblocking(False)

    def heard(self) -> list[dict[str, str]]:
        messages: list[dict[str, str]] = []
        while True:
            try:
                text = self.socket.recv(65536).decode()
            except BlockingIOError:
                return messages
            messages.append(dict(line.split("=", 1) for line in text.split("\n")))


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServiceManager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@nexusd-test-{os.getpid()}"
    manager = ServiceManager(address)
    yield manager
    manager.socket.close()


@pytest.fixture
def notifier(manager: ServiceManager) -> Iterator[Notifier]:
    notifier = Notifier(manager.address, watchdog_s=30.0)
    yield notifier
    notifier.close()


def test_ready_with_a_status(manager: ServiceManager, notifier: Notifier) -> None:
    notifier.ready("watching 5 regions")
    assert manager.heard() == [{"READY": "1", "STATUS": "watching 5 regions"}]


def test_reloading_says_since_when(manager: ServiceManager, notifier: Notifier) -> None:
    notifier.reloading()
    (message,) = manager.heard()
    assert message["RELOADING"] == "1"
    assert int(message["MONOTONIC_USEC"]) == pytest.approx(time.monotonic() * 1e6, abs=5e6)


def test_stopping(manager: ServiceManager, notifier: Notifier) -> None:
    notifier.stopping("draining")
    assert manager.heard() == [{"STOPPING": "1", "STATUS": "draining"}]


def test_a_status_cannot_smuggle_in_another_field(manager: ServiceManager, notifier: Notifier) -> None:
    notifier.status("region a\nMAINPID=1\x1b[2J")
    assert manager.heard() == [{"STATUS": "region a MAINPID=1 [2J"}]


def test_what_does_not_fit_goes_with_the_next_message(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "notify"))
    notifier.ready("up")
    manager = ServiceManager(str(tmp_path / "notify"))
    notifier.alive()
    assert manager.heard() == [{"READY": "1", "STATUS": "up", "WATCHDOG": "1"}]
    manager.socket.close()
    notifier.close()


def test_a_manager_that_does_not_read_never_blocks(manager: ServiceManager, notifier: Notifier) -> None:
    began = time.monotonic()
    for _ in range(5000):
        notifier.alive()
    assert time.monotonic() - began < 2.0
    assert manager.heard()


def test_without_a_manager_everything_is_silent() -> None:
    notifier = Notifier.from_environment({})
    notifier.ready("up")
    notifier.alive()
    notifier.close()
    assert notifier.watchdog_s is None


def test_the_watchdog_interval_comes_from_the_environment() -> None:
    environment = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier.from_environment(environment)
    assert notifier.watchdog_s == 30.0
    notifier.close()


def test_a_watchdog_meant_for_another_process_is_not_fed() -> None:
    environment = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}
    notifier = Notifier.from_environment(environment)
    assert notifier.watchdog_s is None
    notifier.close()


@pytest.mark.parametrize("environment", [{"NOTIFY_SOCKET": "vsock:2:9"}, {"WATCHDOG_USEC": "soon"}])
def test_a_wrong_environment_is_said(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        Notifier.from_environment({"NOTIFY_SOCKET": "@x", **environment})


class Health:
    def __init__(self) -> None:
        self.reason: str | None = None
        self.started = True

    def not_healthy(self) -> str | None:
        return self.reason

    def has_started(self) -> bool:
        return self.started


@in_virtual_time
async def _feed_for(notifier: Notifier, health: Health, *, for_s: float, stuck_after_s: float = 1e9) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.call_later(for_s, stop.set)
    loop.call_later(stuck_after_s, setattr, health, "reason", "polls make no progress")
    await feed_watchdog(notifier, health.not_healthy, health.has_started, stop)


def test_the_watchdog_is_fed_twice_per_interval(manager: ServiceManager, notifier: Notifier) -> None:
    _feed_for(notifier, Health(), for_s=100.0)
    assert manager.heard() == [{"WATCHDOG": "1"}] * 7  # at 0, 15, … 90


def test_it_starves_when_there_is_no_progress_and_says_so_once(
    manager: ServiceManager, notifier: Notifier
) -> None:
    _feed_for(notifier, Health(), for_s=200.0, stuck_after_s=20.0)
    assert manager.heard() == [{"WATCHDOG": "1"}] * 2 + [{"STATUS": "unhealthy: polls make no progress"}]


def test_a_slow_start_that_makes_progress_is_given_more_time(
    manager: ServiceManager, notifier: Notifier
) -> None:
    health = Health()
    health.started = False
    _feed_for(notifier, health, for_s=1.0)
    assert {"EXTEND_TIMEOUT_USEC": "60000000"} in manager.heard()


def test_where_there_is_no_watchdog_it_only_waits() -> None:
    _feed_for(Notifier(None), Health(), for_s=100.0)
