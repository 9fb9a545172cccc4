"""What an emulated CloudNexus is made of: its regions, plans, and how it behaves when nothing is wrong."""

from __future__ import annotations

from dataclasses import dataclass

MAX_PAGE = 100
DEFAULT_PAGE = 20
DEFAULT_IMAGE = "ubuntu-22.04"
DEMO_API_KEY = "demo-key"


@dataclass(frozen=True, slots=True)
class RegionSpec:
    """One region as it is when the emulator starts.

    `latency_ms` is the base around which the shown latency wanders. `slots`: how many more instances fit
    before `capacity` turns false; None: no end.
    """

    slug: str
    name: str
    latency_ms: float
    status: str = "healthy"
    capacity: bool = True
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """What a plan buys (reference: Schemas, Instance, `specs`). Memory and disk in GB."""

    cpu: int
    ram_gb: int
    disk_gb: int


PLANS: dict[str, Size] = {
    "starter": Size(cpu=1, ram_gb=2, disk_gb=50),
    "pro": Size(cpu=4, ram_gb=16, disk_gb=200),
    "enterprise": Size(cpu=16, ram_gb=64, disk_gb=1000),
}

DEFAULT_REGIONS = (
    RegionSpec("us-east-1", "Virginia, US", 12),
    RegionSpec("eu-west-2", "London, UK", 45),
    RegionSpec("eu-central-1", "Frankfurt, DE", 52),
    RegionSpec("us-west-2", "Oregon, US", 68),
    RegionSpec("sa-east-1", "São Paulo, BR", 121),
    RegionSpec("ap-southeast-1", "Singapore, SG", 178),
)


@dataclass(frozen=True, slots=True)
class EmulatorOptions:
    """How the emulated cloud is set up. Times in seconds.

    seed: the same seed and the same requests give the same ids, addresses and latencies.
    api_key: the one bearer key that is accepted.
    instances: how many instances exist from the start, spread over `regions` by the seed, all running but
        for `stopped_share` (0 to 1) of them.
    pending_s, provisioning_s: how long a new instance is in each of these statuses before it runs.
    list_lag_s: a created instance is listed only after this long.
    page_cap: the largest page, 1 to 100; a larger `limit` is cut to it and `meta.limit` tells.
    latency_jitter_ms: how far a region's latency wanders around its base; 0: not at all.
    quota: the most instances that may be live at once; None: no quota.
    show_plan: list `plan` and `image` too, which the reference's schema does not have.
    """

    seed: int = 1
    api_key: str = DEMO_API_KEY
    instances: int = 0
    regions: tuple[RegionSpec, ...] = DEFAULT_REGIONS
    pending_s: float = 2.0
    provisioning_s: float = 6.0
    list_lag_s: float = 0.0
    page_cap: int = MAX_PAGE
    latency_jitter_ms: float = 2.0
    stopped_share: float = 0.0
    quota: int | None = None
    show_plan: bool = False

    def __post_init__(self) -> None:
        """Raises `ValueError` naming the option that cannot be."""
        if not self.api_key:
            raise ValueError("api_key must not be empty")
        if self.instances < 0:
            raise ValueError("instances must not be negative")
        if not self.regions:
            raise ValueError("regions must not be empty")
        if len({region.slug for region in self.regions}) != len(self.regions):
            raise ValueError("regions must have different slugs")
        if min(self.pending_s, self.provisioning_s, self.list_lag_s, self.latency_jitter_ms) < 0:
            raise ValueError(
                "pending_s, provisioning_s, list_lag_s and latency_jitter_ms must not be negative"
            )
        if not 1 <= self.page_cap <= MAX_PAGE:
            raise ValueError(f"page_cap must be between 1 and {MAX_PAGE}")
        if not 0 <= self.stopped_share <= 1:
            raise ValueError("stopped_share must be between 0 and 1")
        if self.quota is not None and self.quota < 0:
            raise ValueError("quota must not be negative")
