"""Tells systemd how the daemon fares (sd_notify(3)). Used by `app.py`; silent when not started by systemd.

The protocol is a datagram of `NAME=value` lines to a Unix socket. It is written out here because nothing may
ever wait for it: the socket does not block, and a message that does not fit now goes with the next one.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping

import structlog

from nexusd.core.errors import ConfigError

log = structlog.get_logger()


class Notifier:
    """Sends state changes to the service manager. `address` None: there is nobody to tell.

    `address` is a path, or an abstract socket's name with a leading `@`, as `$NOTIFY_SOCKET` has it.
    """

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        self.watchdog_s = watchdog_s
        self._address = f"\0{address[1:]}" if address is not None and address.startswith("@") else address
        self._unsent: dict[str, str] = {}
        self._socket: socket.socket | None = None
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)  # noqa: FBT003 - the library's own

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Notifier:
        """By `$NOTIFY_SOCKET`, `$WATCHDOG_USEC` and `$WATCHDOG_PID`. Raises `ConfigError`."""
        address = environment.get("NOTIFY_SOCKET") or None
        if address is not None and not address.startswith(("/", "@")):
            raise ConfigError(f"NOTIFY_SOCKET is neither a path nor an abstract socket: {address!r}")
        return cls(address, _watchdog_s(environment) if address is not None else None)

    def ready(self, status: str) -> None:
        """Started, or reloaded."""
        self._tell(READY="1", STATUS=status)

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._tell(STATUS=text)

    def reloading(self) -> None:
        """Follow it by `ready`, also when the new configuration was refused."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell(RELOADING="1", MONOTONIC_USEC=str(now_us))

    def stopping(self, status: str) -> None:
        self._tell(STOPPING="1", STATUS=status)

    def alive(self) -> None:
        """Feed the watchdog."""
        self._tell(WATCHDOG="1")

    def still_starting(self, more_s: float) -> None:
        """Ask for at least this much longer before the start is taken for failed (EXTEND_TIMEOUT_USEC)."""
        self._tell(EXTEND_TIMEOUT_USEC=str(int(more_s * 1e6)))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, **fields: str) -> None:
        if self._socket is None or self._address is None:
            return
        if "RELOADING" in fields or "STOPPING" in fields:
            self._unsent.pop("READY", None)
        self._unsent |= {name: _one_line(value) for name, value in fields.items()}
        message = "\n".join(f"{name}={value}" for name, value in self._unsent.items())
        try:
            self._socket.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError as error:
            log.debug("systemd_not_told", error=str(error))
            return
        self._unsent.clear()


async def feed_watchdog(
    notifier: Notifier,
    not_healthy: Callable[[], str | None],
    started: Callable[[], bool],
    stop: asyncio.Event,
) -> None:
    """Tell systemd twice per `WatchdogSec` that all is well, only while `not_healthy` gives no reason.

    Without news systemd restarts the service, so a daemon that no longer polls or delivers comes back, and so
    does one whose event loop is stuck. Until `started`, the same news keeps a slow start from timing out.
    One root task of `app.py`; returns when `stop` is set, and merely waits where there is no watchdog.
    """
    if notifier.watchdog_s is None:
        await stop.wait()
        return
    complained = False
    while not stop.is_set():
        reason = not_healthy()
        if reason is None:
            notifier.alive()
            if not started():
                notifier.still_starting(2 * notifier.watchdog_s)
        elif not complained:
            log.error("watchdog_not_fed", reason=reason)
            notifier.status(f"unhealthy: {reason}")
        complained = reason is not None
        await _until(stop, notifier.watchdog_s / 2)


async def _until(stop: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await stop.wait()
    except TimeoutError:
        return


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """`WatchdogSec` in seconds; None when there is none, or it is meant for another process."""
    text = environment.get("WATCHDOG_USEC")
    if not text or environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        watchdog_s = int(text) / 1e6
    except ValueError as error:
        raise ConfigError(f"WATCHDOG_USEC is not a number: {text!r}") from error
    return watchdog_s if watchdog_s > 0 else None


def _one_line(value: str) -> str:
    """No value can add a line, that is another field, to the message."""
    return "".join(c if c.isprintable() else " " for c in value)[:500]
