"""Records of CloudNexus, as `cloud/` decodes them, and the counts of a fleet.

Read liberally (product.md, first page): ids are opaque, missing optional fields are None, unknown fields are
ignored, and an unknown status is kept as it is and is never healthy or running. A record that does not meet
the constraints here is decoded field by field (`cloud/wire.py`).
"""

from __future__ import annotations

from typing import Annotated

import msgspec

MAX_STRING_LENGTH = 256
"""Characters of a string of the API; at most 1,024 bytes in UTF-8, so that every store can index it."""
UNKNOWN = "unknown"
"""The status or region of an instance, or the status of a region, that the API does not give."""

String = Annotated[str, msgspec.Meta(max_length=MAX_STRING_LENGTH)]
NonEmptyString = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_STRING_LENGTH)]

HEALTHY = "healthy"
RUNNING = "running"
TERMINATED = "terminated"
STOPPED = "stopped"
STARTING = frozenset({"pending", "provisioning"})


class Specs(msgspec.Struct, frozen=True, gc=False):
    """An instance's size (reference: Schemas, Instance). `ram_gb` and `disk_gb` in GB."""

    cpu: float | None = None
    ram_gb: float | None = None
    disk_gb: float | None = None


class Instance(msgspec.Struct, frozen=True, gc=False):
    """One compute instance (reference: Schemas, Instance).

    `status` is kept as it was sent. `name` is empty when the API gives none. `plan` and `image` are not in
    the reference's schema but are read when a listing has them, to distinguish an own instance from a
    namesake.
    """

    id: NonEmptyString
    name: String
    status: NonEmptyString
    region: NonEmptyString
    public_ip: String | None = None
    created_at: String | None = None
    specs: Specs | None = None
    plan: String | None = None
    image: String | None = None

    @property
    def display_name(self) -> str:
        """The name, or the id when the API gives no name."""
        return self.name or self.id

    @property
    def live(self) -> bool:
        """Whether it holds its name: everything but `terminated`, unknown statuses included."""
        return self.status != TERMINATED


class Region(msgspec.Struct, frozen=True, gc=False):
    """One region (reference: GET /regions). An unknown `status` is kept and is not healthy."""

    slug: str
    name: str = ""
    status: str = UNKNOWN
    latency_ms: float | None = None
    capacity: bool = False

    @property
    def healthy(self) -> bool:
        return self.status == HEALTHY


class Fleet(msgspec.Struct, frozen=True, gc=False):
    """A declared fleet with what there is of it. `alive`: those that count towards `count`."""

    name: str
    plan: str
    count: int
    alive: int
    running: int
    stopped: int

    @property
    def missing(self) -> int:
        return max(0, self.count - self.alive)

    @property
    def surplus(self) -> int:
        return max(0, self.alive - self.count)
