"""What receivers have not got. Read from the outbox by `cycle`, a fact for rules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backlog:
    """Of one address of a receiver that lacks something.

    `dead`: messages that were given up. `dead_at`: when the last of them was. `waiting`: messages that are
    still to be delivered. `waiting_since`: when the oldest of those was written.
    """

    address: str
    dead: int = 0
    dead_at: float | None = None
    waiting: int = 0
    waiting_since: float | None = None

    @property
    def receiver(self) -> str:
        """The configured receiver."""
        return self.address.partition("/")[0]


def addresses_of(receiver: str, urls: int) -> tuple[str, ...]:
    """Under which name each of its URLs has its messages: `name`, `name/2`, `name/3`, … So one that gets a
    second URL keeps what the first has not got yet.
    """
    return (receiver, *(f"{receiver}/{number}" for number in range(2, urls + 1)))
