"""What a worker holds, and what it knows of the messages that it does not hold. Used by `worker`."""

from __future__ import annotations

from nexusd.ports import OutboxMessage

HANDED_OVER = 8_192
"""Messages in hand up to which the commit that writes one hands it over; the others wait in the outbox."""
HANDED_OVER_BYTES = 32 * 1024 * 1024
LOOKS_EVERY_S = 30.0
NOTHING_WAITS = float("inf")
NOBODY_KNOWS = float("-inf")


class Hand:
    """The messages that are leased to the worker and not done with, and those that will be by a commit under
    way (claims). Bounded in their number and in the size of their bodies.
    """

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._claims = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._sizes

    @property
    def bytes_left(self) -> int:
        """How much more the bodies may take."""
        return max(0, HANDED_OVER_BYTES - self._bytes)

    def claim(self, size: int) -> bool:
        """Whether one more fits; then room is kept for it until `claimed`."""
        full = len(self._sizes) + self._claims >= HANDED_OVER or self._bytes + size > HANDED_OVER_BYTES
        if full:
            return False
        self._claims += 1
        self._bytes += size
        return True

    def claimed(self, size: int) -> None:
        """One that was claimed, by this worker or the one before it, was committed."""
        if self._claims > 0:
            self._claims -= 1
            self._bytes -= size

    def add(self, message: OutboxMessage) -> None:
        self._sizes[message.id] = len(message.body)
        self._bytes += len(message.body)

    def drop(self, message: OutboxMessage) -> None:
        self._bytes -= self._sizes.pop(message.id)


class Lookout:
    """What may wait in the outbox for this worker, beside what it holds. `look_at`: when to read it again."""

    def __init__(self) -> None:
        self._since = NOBODY_KNOWS
        self._news = True
        self.look_at = NOBODY_KNOWS

    @property
    def has_nothing(self) -> bool:
        """Whether for certain nothing waits that is due."""
        return self._since == NOTHING_WAITS

    def looks(self, now: float) -> bool:
        return self.look_at <= now

    def may_have(self, since: float) -> None:
        """Something, written at that instant or later, may be due."""
        self._since = min(self._since, since)
        self.look_at = NOBODY_KNOWS
        self._news = True

    def may_have_older(self, message: OutboxMessage) -> bool:
        return message.created_at > self._since

    def due(self, at: float) -> None:
        """A message is to be tried then."""
        self.look_at = min(self.look_at, at)

    def begin(self) -> None:
        """It is being read; what is heard meanwhile may not be in what comes."""
        self._news = False

    def read(self, due: float | None, now: float, *, full: bool) -> None:
        """All that is due is held now, unless it was as many as could be (`full`)."""
        if self._news:
            return
        if full:
            self.look_at = NOBODY_KNOWS
            return
        self._since = NOTHING_WAITS
        self.look_at = min(due if due is not None else NOTHING_WAITS, now + LOOKS_EVERY_S)
