"""The simulated cloud: the truth about regions and instances, and the calls as they arrive there.

What a process is told of it goes through `network.py`. An instance has a life of its own: it boots, mostly
runs, is stopped or terminated, and leaves the list, though never before its placement is closed: a cloud
that forgets an instance before anybody could look twice cannot be told from one that never made it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from unicodedata import normalize

import msgspec

from nexusd.core.answers import CreateRequest, Refused
from nexusd.core.records import HEALTHY, RUNNING, STOPPED, TERMINATED, Instance, Region
from nexusd.simulator.options import Fault
from nexusd.simulator.trace import Trace
from nexusd.simulator.weather import Weather

REGIONS = (
    ("us-east-1", 12.0),
    ("us-west-2", 31.0),
    ("eu-west-2", 45.0),
    ("eu-central-1", 52.0),
    ("sa-east-1", 88.0),
    ("ap-south-1", 120.0),
    ("ap-southeast-1", 140.0),
    ("ap-northeast-1", 155.0),
)
CHANGE_EVERY_S = 20.0
STRANGER = ""
"""The owner of what somebody else made."""
STRANGER_EVERY_S = 30.0
LISTED_TERMINATED_S = 60.0
RECHECK_S = 30.0
LABEL_LENGTH = 63


@dataclass(slots=True)
class Existing:
    """An instance as it truly is.

    `listed_at`: the listing lacks it before. `owner`: its placement. `requested_name`: its name in the create
    request, which the cloud may store in another form.
    """

    instance: Instance
    listed_at: float
    owner: str
    requested_name: str


def stored_name(name: str) -> str:
    """Return a name as a cloud may store it.

    It is trimmed, normalized, in lower case, and cut like a DNS label.
    """
    return normalize("NFC", name.strip()).lower()[:LABEL_LENGTH]


class CloudAuditor(Protocol):
    def made(self, existing: Existing) -> None:
        """An instance of the daemon's was made."""
        ...

    def refused_dry(self, region: str, owner: str) -> None:
        """A create was refused because the region is dry."""
        ...

    def owner_open(self, owner: str) -> bool:
        """Whether the placement is still open."""
        ...


@dataclass(slots=True)
class _Site:
    """A region as it truly is. `dry`: it claims to have capacity and refuses every create. `scarce`: it
    refuses half of them while a storm of that kind lasts.
    """

    region: Region
    base_ms: float
    dry: bool = False
    scarce: bool = False


class Cloud:
    def __init__(
        self,
        rng: random.Random,
        weather: Weather,
        trace: Trace,
        auditor: CloudAuditor,
    ) -> None:
        self._rng = rng
        self._weather = weather
        self._trace = trace
        self._auditor = auditor
        self._loop = asyncio.get_running_loop()
        self._sites = {
            slug: _Site(Region(slug, slug, HEALTHY, ms, capacity=True), ms) for slug, ms in REGIONS
        }
        self._count = 0
        self.instances: dict[str, Existing] = {}
        self.left_at: dict[str, float] = {}

    @property
    def slugs(self) -> list[str]:
        return list(self._sites)

    def regions(self) -> dict[str, Region]:
        return {slug: site.region for slug, site in self._sites.items()}

    def listing(self) -> dict[str, Instance]:
        """What `GET /instances` has now."""
        now = self._loop.time()
        return {key: e.instance for key, e in self.instances.items() if e.listed_at <= now}

    def live_in(self, slug: str) -> int:
        """The daemon's own."""
        return sum(
            1
            for e in self.instances.values()
            if e.instance.region == slug and e.instance.live and e.owner != STRANGER
        )

    def create(self, request: CreateRequest, owner: str, listed_at: float) -> Existing | Refused:
        """The request has arrived."""
        refused = self._refusal(request)
        if refused is not None:
            if refused.kind == "capacity" and self._sites[request.region].dry:
                self._auditor.refused_dry(request.region, owner)
            return refused
        existing = self._make(request, owner, listed_at)
        self._auditor.made(existing)
        return existing

    def _make(self, request: CreateRequest, owner: str, listed_at: float) -> Existing:
        self._count += 1
        renamed = owner != STRANGER and self._weather.on(Fault.RENAME)
        instance = Instance(
            id=f"inst_{self._count:08d}",
            name=stored_name(request.name) if renamed else request.name,
            status="pending",
            region=request.region,
            created_at=f"{self._loop.time():015.3f}",
            plan=request.plan,
            image=request.image,
        )
        existing = self.instances[instance.id] = Existing(instance, listed_at, owner, request.name)
        self._boot(existing)
        return existing

    async def live(self) -> None:
        """Regions change. For ever."""
        while True:
            await asyncio.sleep(CHANGE_EVERY_S)
            for site in self._sites.values():
                self._change(site)

    async def strangers(self, names: Callable[[], list[str]]) -> None:
        """Somebody else makes instances of the same names, of another plan. For ever."""
        while True:
            await asyncio.sleep(STRANGER_EVERY_S)
            taken = names()
            if taken and self._weather.on(Fault.NAMESAKE) and self._rng.random() < 0.5:
                request = CreateRequest(self._rng.choice(taken), self._rng.choice(self.slugs), "custom", "")
                existing = self._make(request, STRANGER, self._loop.time())
                self._trace.happened(f"a stranger makes {existing.instance.id} named {request.name}")

    async def dry_spells(self) -> None:
        """Now and then a region is dry for hours. For ever."""
        while self._weather.may(Fault.DRY):
            await asyncio.sleep(self._rng.expovariate(1 / 3600.0))
            site = self._sites[self._rng.choice(self.slugs[:3])]
            site.dry = True
            self._trace.happened(f"{site.region.slug} is dry")
            await asyncio.sleep(self._rng.uniform(3600.0, 2.5 * 3600.0))
            site.dry = False
            self._trace.happened(f"{site.region.slug} is dry no more")

    def heal(self) -> None:
        """Every region is healthy and has capacity."""
        for site in self._sites.values():
            site.dry = False
            site.region = msgspec.structs.replace(site.region, status=HEALTHY, capacity=True)

    def _change(self, site: _Site) -> None:
        status, capacity = site.region.status, site.region.capacity
        if not self._weather.on(Fault.REGION):
            status, capacity = HEALTHY, True
        elif self._rng.random() < 0.2:
            status = self._rng.choice([HEALTHY, HEALTHY, "degraded", "down"])
            capacity = self._rng.random() < 0.6
        latency_ms = round(max(1.0, site.base_ms + self._rng.gauss(0.0, 0.3) * site.base_ms), 1)
        if not self._weather.on(Fault.CAPACITY):
            site.scarce = self._rng.random() < 0.3
        site.region = Region(site.region.slug, site.region.name, status, latency_ms, capacity)

    def _refusal(self, request: CreateRequest) -> Refused | None:
        rng, weather, site = self._rng, self._weather, self._sites[request.region]
        if weather.on(Fault.AUTH):
            return Refused(401, "UNAUTHORIZED", "the key is not valid", "auth", "account")
        if weather.on(Fault.THROTTLE) and rng.random() < 0.3:
            return Refused(429, "RATE_LIMITED", "slow down", "throttled", "account", retry_after_s=5.0)
        if weather.on(Fault.QUOTA) and rng.random() < 0.05:
            scope = "account" if rng.random() < 0.02 else "region"
            return Refused(403, "QUOTA_EXCEEDED", "the quota is used up", "quota", scope)
        if weather.on(Fault.REJECT) and rng.random() < 0.1:
            return Refused(422, "VALIDATION_ERROR", "the image is unknown", "rejected", "request")
        storm = weather.on(Fault.CAPACITY) and site.scarce and rng.random() < 0.5
        if site.dry or storm or not site.region.capacity or not site.region.healthy:
            return Refused(409, "INSUFFICIENT_CAPACITY", "nothing left here", "capacity", "region")
        return None

    def _boot(self, existing: Existing) -> None:
        rng, later = self._rng, self._loop.call_later
        fate = rng.random()
        later(rng.uniform(1.0, 5.0), self._become, existing, "provisioning")
        if fate < 0.01:
            later(rng.uniform(400.0, 800.0), self._end, existing)  # never runs
            return
        runs_after_s = rng.uniform(8.0, 40.0)
        if fate < 0.03:
            later(runs_after_s, self._become, existing, STOPPED)
            later(runs_after_s + 60.0, self._end, existing)
            return
        later(runs_after_s, self._become, existing, RUNNING)
        lives_s = runs_after_s + rng.uniform(200.0, 900.0)
        if fate < 0.1:
            later(lives_s, self._become, existing, STOPPED)
        later(lives_s + 30.0, self._end, existing)

    def _become(self, existing: Existing, status: str) -> None:
        existing.instance = msgspec.structs.replace(existing.instance, status=status)

    def _end(self, existing: Existing) -> None:
        self._become(existing, TERMINATED)
        self._loop.call_later(LISTED_TERMINATED_S, self._leave, existing)

    def _leave(self, existing: Existing) -> None:
        if self._auditor.owner_open(existing.owner) or existing.listed_at > self._loop.time() - RECHECK_S:
            self._loop.call_later(RECHECK_S, self._leave, existing)
            return
        del self.instances[existing.instance.id]
        self.left_at[existing.instance.id] = self._loop.time()
