"""One emulated instance, and how its id, address and JSON come out of its number.

A million of these must be made in seconds and fit in memory, so what can be computed from the number
(id, address, and for the fleet that exists from the start also name and age) is not stored.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import msgspec

from nexusd.emulator.options import DEFAULT_IMAGE, PLANS

PENDING, PROVISIONING, RUNNING = "pending", "provisioning", "running"
STOPPED, TERMINATED = "stopped", "terminated"

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS = [a + b for a in _DIGITS for b in _DIGITS]
_IDS = 36**8
_ADDRESSES = 2**22  # 100.64.0.0/10: shared address space, so that nobody's real machine is ever meant
_ROLES = ("prod-api", "prod-web", "prod-db", "batch-worker", "staging-api", "edge-cache")
_DAYS = [(date(2025, 1, 1) + timedelta(days=day)).isoformat() for day in range(300)]  # of the first fleet
_SPREAD_S = len(_DAYS) * 86_400


class Row(msgspec.Struct, gc=False):
    """One instance. `rank` orders the listing. `name` and `created_at_s` are None for the first fleet.

    `listed`: it is in the listing now. `gone`: it was made to vanish. `addressed`: it ran, so it has an
    address. `body`: its JSON as now listed, or None when that must be written anew.
    """

    number: int
    rank: float
    region: str
    plan: str
    status: str
    name: str | None = None
    created_at_s: float | None = None
    image: str = DEFAULT_IMAGE
    addressed: bool = False
    listed: bool = False
    gone: bool = False
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class EmulatedInstance:
    """What the emulator knows of one instance, for tests and the demo."""

    id: str
    name: str
    status: str
    region: str
    public_ip: str | None
    created_at: str
    plan: str
    image: str
    listed: bool


class Identity:
    """The seeded, one-to-one ways from an instance's number to its id and address."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(f"{seed}:identity")  # noqa: S311 - repeatable on purpose
        self._id_step = _coprime(rng, _IDS)
        self._id_start = rng.randrange(_IDS)
        self._id_back = pow(self._id_step, -1, _IDS)
        self._address_step = _coprime(rng, _ADDRESSES)
        self._address_start = rng.randrange(_ADDRESSES)

    def id(self, number: int) -> str:
        """`inst_` and 8 letters or digits, as in the reference's listing."""
        value = (number * self._id_step + self._id_start) % _IDS
        value, low = divmod(value, 1296)
        value, mid = divmod(value, 1296)
        high, upper = divmod(value, 1296)
        return f"inst_{_PAIRS[high]}{_PAIRS[upper]}{_PAIRS[mid]}{_PAIRS[low]}"

    def number(self, instance_id: str) -> int | None:
        """The number that `id` made this of (there may be no such instance), or None."""
        prefix, _, digits = instance_id.partition("_")
        if prefix != "inst" or len(digits) != 8 or any(digit not in _DIGITS for digit in digits):
            return None
        return (int(digits, 36) - self._id_start) * self._id_back % _IDS

    def address(self, number: int) -> str:
        value = (number * self._address_step + self._address_start) % _ADDRESSES
        return f"100.{64 + (value >> 16)}.{value >> 8 & 255}.{value & 255}"


def name_of(row: Row) -> str:
    """The name; the first fleet's are a role and the number, which no nexusd fleet's pattern matches."""
    return row.name if row.name is not None else f"{_ROLES[row.number % len(_ROLES)]}-{row.number:06d}"


def created_at(row: Row) -> str:
    """ISO 8601, UTC, milliseconds."""
    at_s = row.created_at_s
    if at_s is None:
        day, second = divmod(row.number * 7919 % _SPREAD_S, 86_400)
        return f"{_DAYS[day]}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.000Z"
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


_SPECS = {
    plan: f'{{"cpu":{size.cpu},"ram_gb":{size.ram_gb},"disk_gb":{size.disk_gb}}}'
    for plan, size in PLANS.items()
}


class Writer:
    """Writes a row as the JSON object of the reference, and as an `EmulatedInstance`."""

    def __init__(self, identity: Identity, *, show_plan: bool) -> None:
        self._identity = identity
        self._show_plan = show_plan

    def body(self, row: Row) -> bytes:
        """The JSON, kept in the row until something sets `row.body` to None."""
        if row.body is None:
            row.body = self._write(row)
        return row.body

    def view(self, row: Row) -> EmulatedInstance:
        return EmulatedInstance(
            id=self._identity.id(row.number),
            name=name_of(row),
            status=row.status,
            region=row.region,
            public_ip=self._identity.address(row.number) if row.addressed else None,
            created_at=created_at(row),
            plan=row.plan,
            image=row.image,
            listed=row.listed,
        )

    def _write(self, row: Row) -> bytes:
        address = f'"{self._identity.address(row.number)}"' if row.addressed else "null"
        extra = f',"plan":{_quoted(row.plan)},"image":{_quoted(row.image)}' if self._show_plan else ""
        name = f'"{name_of(row)}"' if row.name is None else msgspec.json.encode(row.name).decode()
        return (
            f'{{"id":"{self._identity.id(row.number)}","name":{name},"status":{_quoted(row.status)},'
            f'"region":{_quoted(row.region)},"public_ip":{address},"specs":{_SPECS[row.plan]},'
            f'"created_at":"{created_at(row)}"{extra}}}'
        ).encode()


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _coprime(rng: random.Random, modulus: int) -> int:
    while True:
        step = rng.randrange(modulus // 3, modulus)
        if math.gcd(step, modulus) == 1:
            return step
