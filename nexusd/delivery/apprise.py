"""The apprise receiver: any of the services that Apprise knows, off the event loop (product.md, section 4).
Used by `worker`. Needs the extra `nexusd[apprise]`, which is imported only when it is configured.

Apprise makes its connections by itself: the addresses that `addresses` refuses are not refused here.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nexusd.core.backlog import addresses_of
from nexusd.core.errors import ConfigError
from nexusd.core.message_text import MessageText, message_text
from nexusd.delivery.beside import about_bytes
from nexusd.ports import Delivery, OutboxMessage

if TYPE_CHECKING:
    import apprise

THREADS = 4
"""Messages under way at once; more would only wait for each other."""
_KINDS = {"": "success", "critical": "failure", "warning": "warning"}
_BETWEEN_TITLE_AND_BODY = 4


@dataclass(frozen=True, slots=True)
class AppriseOptions:
    """`urls`: Apprise's, each a service and what it needs, all of it secret. Each is told in its own time."""

    name: str
    urls: tuple[str, ...] = field(repr=False)
    timeout_s: float = 10.0

    @property
    def addresses(self) -> tuple[str, ...]:
        """The name of each URL in the outbox, in metrics and logs."""
        return addresses_of(self.name, len(self.urls))


class AppriseReceiver:
    """`ports.Receiver` for the URL at `index`. Raises `ConfigError` without the extra, and for a URL that
    Apprise does not know.

    A thread cannot be stopped: one whose time is up runs on and keeps its place until it ends by itself.
    """

    def __init__(self, options: AppriseOptions, index: int) -> None:
        self._options = options
        self._name = options.addresses[index]
        self._service = _service(options, index)
        self._places = asyncio.Semaphore(THREADS)

    @property
    def name(self) -> str:
        return self._name

    async def send(self, message: OutboxMessage) -> Delivery:
        """One try. Apprise does not tell a refusal from a failure: both are tried again."""
        try:
            text = await about_bytes(len(message.body), message_text, message.body)
        except ValueError as error:
            return Delivery("rejected", "invalid", str(error))
        try:
            async with asyncio.timeout(self._options.timeout_s):
                await self._places.acquire()
                return await self._in_thread(lambda: self._notify(text))
        except TimeoutError:
            return Delivery("retry", "timeout", f"no answer within {self._options.timeout_s:g}s")

    async def close(self) -> None:
        return

    def _in_thread(self, work: Callable[[], Delivery]) -> asyncio.Future[Delivery]:
        """Not the loop's own threads: the end of the process waits for those, whatever they wait for."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Delivery] = loop.create_future()

        def ended(delivery: Delivery) -> None:
            self._places.release()
            if not done.done():
                done.set_result(delivery)

        def run() -> None:
            delivery = work()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(ended, delivery)

        threading.Thread(target=run, name=f"apprise to {self._name}", daemon=True).start()
        return done

    def _notify(self, text: MessageText) -> Delivery:
        """In a thread. Whatever a service's code raises is an answer, or the place would be lost."""
        import apprise

        try:
            taken = self._service.notify(
                title=text.title,
                body=_cut(text, next(iter(self._service))),
                notify_type=apprise.NotifyType(_KINDS.get(text.severity, "info")),
                body_format=apprise.NotifyFormat.TEXT,
            )
        except Exception as error:  # noqa: BLE001 - the services are other people's code, a hundred of them
            return Delivery("retry", "error", f"Apprise failed: {type(error).__name__}")
        if taken:
            return Delivery("delivered", "ok")
        return Delivery("retry", "failed", "the service did not take it; Apprise does not say why")


def _service(options: AppriseOptions, index: int) -> apprise.Apprise:
    try:
        import apprise
    except ImportError:
        raise ConfigError(
            f"receivers: {options.name}: type apprise needs an extra: pip install 'nexusd[apprise]'"
        ) from None
    # What it logs names hosts and paths, which are secret.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    asset = apprise.AppriseAsset(
        app_id="nexusd",
        app_desc="nexusd",
        async_mode=False,
        service_timeout=0,  # in our thread, not in one of its own that outlives us
        storage_mode=apprise.PersistentStoreMode.MEMORY,
    )
    service = apprise.Apprise(asset=asset)
    if not service.add(options.urls[index]) or len(service) != 1:
        raise ConfigError(
            f"receivers: {options.name}: urls[{index}]: Apprise knows no such service, or it lacks something"
        )
    return service


def _cut(text: MessageText, service: apprise.NotifyBase) -> str:
    """The body, as long as the service takes; where it has no titles the title is part of it."""
    room = service.body_maxlen
    if service.title_maxlen <= 0:
        room -= len(text.title) + _BETWEEN_TITLE_AND_BODY
    return text.body if len(text.body) <= room else text.body[: max(room - 1, 0)] + "…"
