"""From messages to outbox rows, rendered once. Used by `cycle`, in the commit that changes the alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from nexusd.core.identifiers import ulid
from nexusd.core.notifications import Message
from nexusd.core.webhook_body import BodyOptions, webhook_body
from nexusd.delivery.beside import about_alerts
from nexusd.ports import OutboxMessage

EXPIRES_AFTER_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class OutboxOptions:
    """`bodies`: by receiver, how its messages are rendered. `addresses`: for a receiver that has several,
    under which name each has its messages. `expires_after_s`: how long they are tried.
    """

    bodies: Mapping[str, BodyOptions] = field(default_factory=dict)
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    expires_after_s: float = EXPIRES_AFTER_S


Lease = Callable[[str, int], float | None]
"""Until when a message to an address, with so large a body, is leased from the start; None: not at all."""


def unleased(_address: str, _size: int) -> None:
    return None


class OutboxWriter:
    """Makes the rows. `random` gives the ids their entropy."""

    def __init__(self, options: OutboxOptions, random: Random) -> None:
        self._options = options
        self._random = random

    async def rows(
        self, messages: Sequence[Message], now: float, utc_offset_s: float, lease: Lease = unleased
    ) -> list[OutboxMessage]:
        """One row a message and address, due at once. `now`: an instant of the clock, with its UTC offset."""
        told = sum(len(message.alerts) for message in messages)
        bodies = await about_alerts(told, self._bodies, messages, utc_offset_s)
        return [
            row
            for message, body in zip(messages, bodies, strict=True)
            for row in self._rows(message.receiver, body, now, utc_offset_s, lease)
        ]

    def _bodies(self, messages: Sequence[Message], utc_offset_s: float) -> list[bytes]:
        options = self._options.bodies
        return [webhook_body(m, options.get(m.receiver, BodyOptions()), utc_offset_s) for m in messages]

    def _rows(
        self, receiver: str, body: bytes, now: float, utc_offset_s: float, lease: Lease
    ) -> Iterator[OutboxMessage]:
        options = self._options
        for address in options.addresses.get(receiver, (receiver,)):
            yield OutboxMessage(
                id=f"msg_{ulid(now + utc_offset_s, self._random.getrandbits(80))}",
                receiver=address,
                body=body,
                created_at=now,
                expires_at=now + options.expires_after_s,
                next_try_at=now,
                leased_until=lease(address, len(body)),
            )
