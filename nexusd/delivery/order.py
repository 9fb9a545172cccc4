"""Messages about one group reach a receiver in the order they were made. Used by `worker`, one per receiver.

Without it, a "resolved" that is sent while the "firing" before it waits for its next try would be overtaken
by it later, and the receiver would take the alert for firing for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

import msgspec

from nexusd.ports import OutboxMessage

POISON_TRIES = 8
"""After this many tries of one message (about ten minutes) those behind it are tried all the same, right
after it: perhaps it is that message alone which the receiver cannot take.
"""


class _Group(msgspec.Struct):
    group_key: str = msgspec.field(name="groupKey", default="")


_DECODER = msgspec.json.Decoder(_Group)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message of a group that failed and is to be tried again. Its body, which may be large, is left where
    it is.
    """

    id: str
    group: str
    created_at: float
    next_try_at: float

    @classmethod
    def of(cls, message: OutboxMessage) -> Waiting:
        return cls(message.id, group_of(message), message.created_at, message.next_try_at)


class Turn:
    """One message's place in its group's line. `free`: the one right before it holds it up no more."""

    __slots__ = ("free", "group", "message")

    def __init__(self, message: OutboxMessage, group: str) -> None:
        self.message = message
        self.group = group
        self.free = False


class GroupOrder:
    """Remembers, by group, what failed and waits, and who stands behind the one under way."""

    def __init__(self) -> None:
        self._failed: dict[str, Waiting] = {}
        self._lines: dict[str, deque[Turn]] = {}

    def restore(self, failed: Iterable[Waiting]) -> None:
        """At start: pending messages that had failed before."""
        self._failed.clear()
        self._lines.clear()
        for waiting in sorted(failed, key=_age):
            self._failed.setdefault(waiting.group, waiting)

    def enter(self, message: OutboxMessage) -> Turn | None:
        """Get in line, in the order of leasing: older first. The message's turn, if it has come at once."""
        turn = Turn(message, group_of(message))
        line = self._lines.get(turn.group)
        if line is None:
            self._lines[turn.group] = deque()
            return turn
        line.append(turn)
        return None

    def postponed(self, turn: Turn, now: float) -> OutboxMessage | None:
        """The row to write instead of sending, or None: it may be sent."""
        if turn.free:
            return None
        head = self._failed.get(turn.group)
        if head is None or _age(head) >= _age(turn.message) or head.next_try_at <= now:
            return None  # a head that is due and yet not in line is in the outbox no more
        return replace(turn.message, leased_until=None, next_try_at=head.next_try_at)

    def left(self, turn: Turn, after: OutboxMessage | None) -> Turn | None:
        """The turn is over; `after` is its row now, None when it was sent or given up. Whose turn is next."""
        head = self._failed.get(turn.group)
        if after is None:
            if head is not None and head.id == turn.message.id:
                del self._failed[turn.group]
        elif after.tries > turn.message.tries and (head is None or _age(after) <= _age(head)):
            self._failed[turn.group] = Waiting(after.id, turn.group, after.created_at, after.next_try_at)
        line = self._lines[turn.group]
        if not line:
            del self._lines[turn.group]
            return None
        following = line.popleft()
        following.free = after is None or after.tries >= POISON_TRIES
        return following


def group_of(message: OutboxMessage) -> str:
    """The group a body is about; a body that is not a JSON object with a group is one of its own."""
    try:
        return _DECODER.decode(message.body).group_key or message.id
    except msgspec.DecodeError:
        return message.id


def _age(message: OutboxMessage | Waiting) -> tuple[float, str]:
    return message.created_at, message.id
