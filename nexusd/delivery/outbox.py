"""From messages to outbox rows, rendered once. Used by `cycle`, in the commit that changes the alerts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random

from nexusd.core.identifiers import ulid
from nexusd.core.notifications import Message
from nexusd.core.webhook_body import BodyOptions, webhook_body
from nexusd.ports import OutboxMessage

EXPIRES_AFTER_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class OutboxOptions:
    """`bodies`: by receiver, how its messages are rendered. `expires_after_s`: how long they are tried."""

    bodies: Mapping[str, BodyOptions] = field(default_factory=dict)
    expires_after_s: float = EXPIRES_AFTER_S


class OutboxWriter:
    """Makes the rows. `random` gives the ids their entropy."""

    def __init__(self, options: OutboxOptions, random: Random) -> None:
        self._options = options
        self._random = random

    def rows(self, messages: Iterable[Message], now: float, utc_offset_s: float) -> list[OutboxMessage]:
        """One row a message, due at once; `now` is an instant of the clock, and its UTC offset."""
        return [
            OutboxMessage(
                id=f"msg_{ulid(now + utc_offset_s, self._random.getrandbits(80))}",
                receiver=message.receiver,
                body=webhook_body(message, self._body(message.receiver), utc_offset_s),
                created_at=now,
                expires_at=now + self._options.expires_after_s,
                next_try_at=now,
            )
            for message in messages
        ]

    def _body(self, receiver: str) -> BodyOptions:
        return self._options.bodies.get(receiver, BodyOptions())
