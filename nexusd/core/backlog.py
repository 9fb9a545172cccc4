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
        """The configured receiver: one with several URLs has the addresses `name/1`, `name/2`, …"""
        return self.address.partition("/")[0]
