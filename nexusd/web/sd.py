"""`GET /api/v1/sd`: the instances as targets of Prometheus's HTTP service discovery
(https://prometheus.io/docs/prometheus/latest/http_sd/).

Targets are rendered once a snapshot and query, in slices with the event loop let run in between, and are kept
compressed, as Prometheus asks for them: a tenth of the memory.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from itertools import islice
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Annotated

import msgspec
from aiohttp import web

from nexusd.core.errors import InputError
from nexusd.core.names import FleetNames
from nexusd.core.polls import INSTANCES
from nexusd.core.records import Instance, Specs
from nexusd.core.world import World
from nexusd.ports import Clock, Daemon
from nexusd.web.answers import RETRY_AFTER_S, RequestError, answer_in_chunks
from nexusd.web.exposition import number
from nexusd.web.filters import check_region, check_status
from nexusd.web.queries import integer, quality, text

DEFAULT_PORT = 9100
"""Where Prometheus's node exporter listens."""
KEPT = 8
"""Queries whose answers are kept."""
SLICE = 500
"""Instances a turn of the event loop: about 3 ms."""
CHUNK = 1 << 14
"""Bytes, compressed, that are written at once; plain that is twenty times as much."""

_GZIP = 31
"""zlib's `wbits` for the gzip format."""
_UNKNOWN = Specs()


class Labels(msgspec.Struct, omit_defaults=True, gc=False, rename="__meta_cloudnexus_{}".format):
    """What is not known is left out. docs/http-api.md explains them to users."""

    instance_id: str
    instance_name: str
    instance_status: str
    region: str
    public_ip: str | None = None
    plan: str | None = None
    image: str | None = None
    fleet: str | None = None
    cpu: str | None = None
    ram_gb: str | None = None
    disk_gb: str | None = None


class Group(msgspec.Struct, gc=False):
    """Prometheus's target group (`<static_config>`)."""

    targets: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=1)]
    labels: Labels


@dataclass(frozen=True, slots=True)
class Wanted:
    """None matches all. Values are compared whole, as `/api/v1/instances` does."""

    port: int
    region: str | None
    status: str | None

    @classmethod
    def of(cls, request: web.Request) -> Wanted:
        """Raises `InputError`. An empty value is refused: it would match nothing, and end every target."""
        port = integer(request, "port", DEFAULT_PORT, (1, 65_535))
        return cls(port, _filled(request, "region"), _filled(request, "status"))

    def group(self, instance: Instance, fleets: FleetNames) -> Group | None:
        """One of its own, because its labels are its own. None for what is not wanted or has no address."""
        if self.region not in (None, instance.region) or self.status not in (None, instance.status):
            return None
        address = _address(instance.public_ip) if instance.public_ip else None
        return Group((f"{address}:{self.port}",), _labels(instance, fleets)) if address is not None else None


class DiscoveryRoutes:
    def __init__(self, daemon: Daemon, clock: Clock) -> None:
        self._daemon = daemon
        self._clock = clock
        self._rendering = asyncio.Lock()
        self._rendered: OrderedDict[Wanted, tuple[float | None, bytes]] = OrderedDict()

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/api/v1/sd", self.targets)]

    async def targets(self, request: web.Request) -> web.StreamResponse:
        """503 when the snapshot is stale: Prometheus then keeps the targets it has."""
        wanted = Wanted.of(request)
        self._check_fresh()
        check_region(wanted.region, self._daemon.world)
        check_status(wanted.status, self._daemon.world)
        async with self._rendering:
            body = await self._body(wanted)
        headers = {
            "Content-Type": "application/json",
            "Cache-Control": "no-store",
            "Vary": "Accept-Encoding",
        }
        if quality(request.headers.get("Accept-Encoding", ""), "gzip") > 0:
            headers["Content-Encoding"] = "gzip"
            chunks = _chunks(body)
        else:
            chunks = await asyncio.to_thread(_inflated, body)
        return await answer_in_chunks(request, chunks, headers)

    def _check_fresh(self) -> None:
        """Raises `RequestError`."""
        world, now = self._daemon.world, self._clock.now()
        poll = world.polls[INSTANCES]
        if world.inventory.observed_at is not None and not poll.stale(now):
            return
        never = poll.succeeded_at is None
        message = "no instance data yet" if never else f"instance data is {poll.age_s(now):.0f}s old"
        raise RequestError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "SNAPSHOT_STALE",
            f"{message}: keep the targets you have",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )

    async def _body(self, wanted: Wanted) -> bytes:
        world = self._daemon.world
        observed_at, body = self._rendered.get(wanted, (None, b""))
        if not body or observed_at != world.inventory.observed_at:
            observed_at = world.inventory.observed_at
            body = await _compressed(wanted, world)
            self._rendered[wanted] = observed_at, body
        self._rendered.move_to_end(wanted)
        if len(self._rendered) > KEPT:
            self._rendered.popitem(last=False)
        return body


async def _compressed(wanted: Wanted, world: World) -> bytes:
    """A JSON list, by gzip at the fastest level."""
    fleets = FleetNames(world.fleets.names)
    instances = iter(world.inventory.copied().values())  # a poll may change the inventory meanwhile
    compressor = zlib.compressobj(level=1, wbits=_GZIP)
    parts: list[bytes] = []
    separator = b"["
    while part := list(islice(instances, SLICE)):
        groups = [group for each in part if (group := wanted.group(each, fleets)) is not None]
        if groups:
            rows = separator + msgspec.json.encode(groups)[1:-1]
            parts.append(await asyncio.to_thread(compressor.compress, rows))
            separator = b","
        await asyncio.sleep(0)
    parts.append(compressor.compress(b"]" if separator == b"," else b"[]"))
    return b"".join([*parts, compressor.flush()])


def _chunks(body: bytes) -> list[bytes]:
    return [body[start : start + CHUNK] for start in range(0, len(body), CHUNK)]


def _inflated(body: bytes) -> list[bytes]:
    inflater = zlib.decompressobj(wbits=_GZIP)
    return [inflater.decompress(chunk) for chunk in _chunks(body)]


def _labels(instance: Instance, fleets: FleetNames) -> Labels:
    specs = instance.specs or _UNKNOWN
    return Labels(
        instance.id,
        instance.name,
        instance.status,
        instance.region,
        instance.public_ip,
        instance.plan,
        instance.image,
        fleets.fleet_of(instance.name),
        _number(specs.cpu),
        _number(specs.ram_gb),
        _number(specs.disk_gb),
    )


def _address(public_ip: str) -> str | None:
    """As a URL writes it; None for what is no address."""
    try:
        if ":" in public_ip:
            return f"[{inet_ntop(AF_INET6, inet_pton(AF_INET6, public_ip))}]"
        inet_pton(AF_INET, public_ip)
    except (OSError, ValueError):
        return None
    return public_ip


@lru_cache(maxsize=256)
def _number(value: float | None) -> str | None:
    return number(value) if value is not None else None


def _filled(request: web.Request, name: str) -> str | None:
    value = text(request, name)
    if value == "":
        raise InputError(f"{name}: is empty; leave it out to get all", name)
    return value
