"""What CloudNexus has, as records that `cloud/` decodes straight from the wire; and what a fleet comes to.

Read liberally (product.md, first page): ids are opaque, missing optional fields are None, unknown fields are
ignored, and an unknown status is kept as it is and is never healthy or running.
"""

from __future__ import annotations

import msgspec

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

    `status` is kept as it was sent, known or not. `plan` and `image` are not in the reference's schema but
    are read when a listing has them, because they tell one's own instance from a namesake.
    """

    id: str
    name: str
    status: str
    region: str
    public_ip: str | None = None
    created_at: str | None = None
    specs: Specs | None = None
    plan: str | None = None
    image: str | None = None

    @property
    def live(self) -> bool:
        """Whether it holds its name: everything but `terminated`, unknown statuses included."""
        return self.status != TERMINATED


class Region(msgspec.Struct, frozen=True, gc=False):
    """One region (reference: GET /regions). An unknown `status` is kept and is not healthy."""

    slug: str
    name: str = ""
    status: str = "unknown"
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
