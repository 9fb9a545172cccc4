"""Messages about one group reach a receiver in the order they were made. Used by `worker`, one per receiver.

Without it, a "resolved" that is sent while the "firing" before it waits for its next try would be overtaken
by it later, and the receiver would take the alert for firing for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import msgspec

from nexusd.ports import OutboxMessage

POISON_TRIES = 8
"""After this many tries of one message (about ten minutes) those behind it are tried all the same, right
after it: perhaps it is that message alone which the receiver cannot take.
"""


class _Group(msgspec.Struct):
    group_key: str = msgspec.field(name="groupKey", default="")


_DECODER = msgspec.json.Decoder(_Group)


class GroupOrder:
    """Remembers, by group, the message that failed and waits, and the one under way."""

    def __init__(self) -> None:
        self._failed: dict[str, OutboxMessage] = {}
        self._last: dict[str, asyncio.Future[OutboxMessage]] = {}

    def restore(self, messages: Iterable[OutboxMessage]) -> None:
        """At start: pending messages that had failed before."""
        self._failed.clear()
        self._last.clear()
        for message in sorted(messages, key=_age):
            if message.tries > 0:
                self._failed.setdefault(group_of(message), message)

    def enter(self, message: OutboxMessage) -> Turn:
        """Get in line, in the order of leasing: older first."""
        group = group_of(message)
        turn = Turn(self, message, group, self._last.get(group))
        self._last[group] = turn.over
        return turn

    def failed(self, group: str) -> OutboxMessage | None:
        return self._failed.get(group)

    def left(self, turn: Turn, after: OutboxMessage) -> None:
        """The turn is over; `after` is its row now."""
        turn.over.set_result(after)
        if self._last.get(turn.group) is turn.over:
            del self._last[turn.group]
        head = self._failed.get(turn.group)
        if after.state != "pending":
            if head is not None and head.id == after.id:
                del self._failed[turn.group]
        elif after.tries > turn.message.tries and (head is None or _age(after) <= _age(head)):
            self._failed[turn.group] = after


class Turn:
    """One message's place in its group's line."""

    def __init__(
        self,
        order: GroupOrder,
        message: OutboxMessage,
        group: str,
        before: asyncio.Future[OutboxMessage] | None,
    ) -> None:
        self.message = message
        self.group = group
        self.over: asyncio.Future[OutboxMessage] = asyncio.get_running_loop().create_future()
        self._order = order
        self._before = before

    async def postponed(self, clock: Callable[[], float]) -> OutboxMessage | None:
        """Wait until the one before is done. The row to write instead of sending, or None: it may be sent."""
        if self._before is not None:
            ahead = await self._before
            if ahead.state != "pending" or ahead.tries >= POISON_TRIES:
                return None
        head = self._order.failed(self.group)
        if head is None or _age(head) >= _age(self.message) or head.next_try_at <= clock():
            return None  # a head that is due and yet not in line is in the outbox no more
        return replace(self.message, leased_until=None, next_try_at=head.next_try_at)


def group_of(message: OutboxMessage) -> str:
    """The group a body is about; a body that is not a JSON object with a group is one of its own."""
    try:
        return _DECODER.decode(message.body).group_key or message.id
    except msgspec.DecodeError:
        return message.id


def _age(message: OutboxMessage) -> tuple[float, str]:
    return message.created_at, message.id
