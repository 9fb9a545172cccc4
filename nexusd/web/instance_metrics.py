"""Two series an instance (`metrics.per_instance`): rendered when the snapshot has changed, served as bytes.

Instances are rendered in chunks, and a chunk whose instances are the same objects as last time is kept. That
is done on a thread, after each sweep (`keep_ready`), so that a scrape finds it ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from nexusd.core.inventory import Inventory
from nexusd.core.records import Instance
from nexusd.web.exposition import escape, gauge, header
from nexusd.web.prepared import Piece, Prepared, piece, prepare
from nexusd.web.state_metrics import FROM_SNAPSHOT

CHUNK = 1_000
"""Instances that are rendered together: about 1 ms, and 100 kB of lines of each family."""


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    instances: tuple[Instance, ...]
    info: Piece
    status: Piece


class InstanceMetrics:
    """`instance_info` and `instance_status` of the first `max_instances` instances; how many are left out."""

    def __init__(self, max_instances: int, inventory: Callable[[], Inventory]) -> None:
        self._max_instances = max_instances
        self._inventory = inventory
        self._chunks: list[_Chunk] = []
        self._left_out = 0
        self._ready: Prepared | None = None
        self._rendering = asyncio.Lock()
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """The snapshot is another one."""
        self._changed.set()

    async def keep_ready(self) -> None:
        """Render whenever the snapshot has changed. For ever."""
        while True:
            self._changed.clear()
            await self.render()
            await self._changed.wait()

    async def latest(self) -> Prepared:
        """What was rendered last; of the first snapshot rendered now."""
        if self._ready is None or (self._chunks == [] and len(self._inventory())):
            return await self.render()
        return self._ready

    async def render(self) -> Prepared:
        """The series of the snapshot as it is now."""
        async with self._rendering:
            inventory = self._inventory()
            left_out = max(0, len(inventory) - self._max_instances)
            parts = _parts(islice(inventory, self._max_instances), self._chunks)
            chunks = await asyncio.to_thread(_rendered, parts)
            if self._ready is None or chunks != self._chunks or left_out != self._left_out:
                self._ready = await asyncio.to_thread(_joined, chunks, left_out)
                self._chunks, self._left_out = chunks, left_out
            return self._ready


_Part = tuple[Instance, ...]


def _parts(instances: Iterator[Instance], before: Iterable[_Chunk]) -> list[_Chunk | _Part]:
    """The chunks that are as they were, and the instances of the others. No list of all of them is made:
    the garbage collector, which stops everybody, would walk through it.
    """
    old = iter(before)
    parts: list[_Chunk | _Part] = []
    while part := tuple(islice(instances, CHUNK)):
        chunk = next(old, None)
        parts.append(chunk if chunk is not None and part == chunk.instances else part)
    return parts


def _rendered(parts: Iterable[_Chunk | _Part]) -> list[_Chunk]:
    return [part if isinstance(part, _Chunk) else _chunk(part) for part in parts]


def _joined(chunks: list[_Chunk], left_out: int) -> Prepared:
    return prepare(_pieces(chunks, left_out))


def _chunk(part: _Part) -> _Chunk:
    info = "".join(map(_info_line, part)).encode(errors="replace")
    status = "".join(map(_status_line, part)).encode(errors="replace")
    return _Chunk(part, piece(info), piece(status))


def _pieces(chunks: list[_Chunk], left_out: int) -> Iterator[Piece]:
    yield piece(
        header("nexusd_instance_info", "gauge", f"Always 1; what an instance is. {FROM_SNAPSHOT}").encode()
    )
    yield from (chunk.info for chunk in chunks)
    yield piece(
        header(
            "nexusd_instance_status", "gauge", f"1 for the status that an instance has. {FROM_SNAPSHOT}"
        ).encode()
    )
    yield from (chunk.status for chunk in chunks)
    dropped = gauge(
        "nexusd_instance_series_dropped",
        "Instances without series of their own because of metrics.max_instances.",
        [((), left_out)],
    )
    yield piece(dropped.encode())


def _info_line(instance: Instance) -> str:
    return (
        f'nexusd_instance_info{{instance_id="{escape(instance.id)}",name="{escape(instance.name)}",'
        f'region="{escape(instance.region)}"}} 1\n'
    )


def _status_line(instance: Instance) -> str:
    labels = f'instance_id="{escape(instance.id)}",status="{escape(instance.status)}"'
    return f"nexusd_instance_status{{{labels}}} 1\n"
