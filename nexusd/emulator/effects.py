"""What a fault can do. The first group changes how one request is served, the second the cloud itself.

All values are frozen and say what is wrong with them by `ValueError` when they are made. Times in seconds.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Latency:
    """Wait before the request is worked on. An instance is made only after the wait."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class LateAnswer:
    """Work on the request at once (an instance is made), and wait before answering."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer this, whatever was asked.

    after_commit: do the work first, so that a refused or failed create has made its instance all the same.
    code, message, details: of the ErrorResponse; by default what fits the status.
    body, content_type: sent instead of an ErrorResponse.
    retry_after: the header as it is to be sent (seconds or an HTTP date).
    """

    status: int
    code: str | None = None
    message: str | None = None
    details: tuple[Mapping[str, object], ...] | None = None
    body: bytes | None = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: str | None = None
    after_commit: bool = False

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            raise ValueError(f"status must be between 200 and 599, not {self.status}")

    @staticmethod
    def decode_body(text: str) -> bytes:
        """The bytes of a `body_base64`. Raises `ValueError`."""
        return base64.b64decode(text, validate=True)


@dataclass(frozen=True, slots=True)
class Drop:
    """Give no answer: break the connection.

    when: `before` anything is read of the request's body or done, or `after_commit`.
    how: `reset` (RST) or `close` (FIN).
    """

    when: Literal["before", "after_commit"]
    how: Literal["reset", "close"] = "reset"


@dataclass(frozen=True, slots=True)
class Truncate:
    """Do the work and promise the whole answer in Content-Length, send this share (0 to 1) of it, close."""

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ValueError("share must be at least 0 and less than 1")


@dataclass(frozen=True, slots=True)
class Drip:
    """Do the work and send the answer's body at so many bytes a second."""

    bytes_per_second: float

    def __post_init__(self) -> None:
        if self.bytes_per_second <= 0:
            raise ValueError("bytes_per_second must be more than 0")


@dataclass(frozen=True, slots=True)
class Omit:
    """Leave these fields out of every instance or region of the answer, e.g. `id` of a created instance."""

    fields: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("fields must not be empty")


@dataclass(frozen=True, slots=True)
class ListLag:
    """The instance that the request creates is listed only after so long."""

    lag_s: float


@dataclass(frozen=True, slots=True)
class PageCap:
    """The page holds at most so many instances, and `meta.limit` tells."""

    limit: int

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= 100:
            raise ValueError("page_cap must be between 1 and 100")


@dataclass(frozen=True, slots=True)
class RegionChange:
    """A region is otherwise while this holds: None keeps what it is, `gone` takes it off the list.

    `status` may be any text, known to the reference or not.
    """

    slug: str
    status: str | None = None
    latency_ms: float | None = None
    capacity: bool | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class InstanceChange:
    """Some instances take a status, known or not, or vanish (`status` None); undone when the fault ends.

    name: a glob over names; id: exactly that one. take: how many of those that match, drawn by the seed.
    """

    status: str | None
    name: str = "*"
    id: str | None = None
    take: int = 1

    def __post_init__(self) -> None:
        if self.take < 1:
            raise ValueError("take must be at least 1")


@dataclass(frozen=True, slots=True)
class Drift:
    """The listing changes while it is read, so that paging by offset skips or repeats instances.

    Before a page is served, `insert` new instances appear at random places, `remove` vanish for good, and
    `move` change their places (nothing comes or goes). each `sweep`: once, before a random page other than
    the first of the listing; each `page`: before every page.
    """

    insert: int = 0
    remove: int = 0
    move: int = 0
    each: Literal["sweep", "page"] = "sweep"

    def __post_init__(self) -> None:
        if min(self.insert, self.remove, self.move) < 0 or not (self.insert or self.remove or self.move):
            raise ValueError("drift needs insert, remove or move, none of them negative")


RequestEffect = Latency | LateAnswer | Answer | Drop | Truncate | Drip | Omit | ListLag | PageCap
CloudEffect = RegionChange | InstanceChange | Drift
Effect = RequestEffect | CloudEffect
