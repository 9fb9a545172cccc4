"""All instances that ever were, what is due to happen to them, and the listings they appear in."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from fnmatch import fnmatchcase

from nexusd.core.errors import NotFoundError
from nexusd.emulator.listing import Listing
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.rows import (
    PENDING,
    PROVISIONING,
    RUNNING,
    STOPPED,
    TERMINATED,
    EmulatedInstance,
    Identity,
    Row,
    Writer,
    name_of,
)

_LISTED = "listed"
_FIRST_PLANS = (("starter", "pro", "enterprise"), (5, 4, 1))


class Fleet:
    """The instances. Nothing here waits: what is due is done by `advance`, called before every answer."""

    def __init__(self, options: EmulatorOptions) -> None:
        self._options = options
        self._identity = Identity(options.seed)
        self._writer = Writer(self._identity, show_plan=options.show_plan)
        self._rows = list(_first_fleet(options))
        self._by_name: dict[str, list[Row]] = {}
        self._due: list[tuple[float, int, str]] = []
        self._live = sum(row.status != TERMINATED for row in self._rows)
        self._listing = Listing(self._rows, self._writer.body)
        self._by_region: dict[str, Listing] = {}
        self._slugs = {row.region for row in self._rows}

    @property
    def live(self) -> int:
        """How many are neither terminated nor vanished, listed or not."""
        return self._live

    def listing(self, region: str | None) -> Listing:
        """All that are listed, or those of one region; a region's listing is made when first asked for."""
        if region is None:
            return self._listing
        if region not in self._slugs:
            return Listing((), self._writer.body)
        if region not in self._by_region:
            rows = (row for row in self._rows if row.region == region and row.listed)
            ordered = sorted(rows, key=lambda row: row.rank)
            self._by_region[region] = Listing(ordered, self._writer.body)
        return self._by_region[region]

    def view(self, row: Row) -> EmulatedInstance:
        return self._writer.view(row)

    def body(self, row: Row) -> bytes:
        """The row's JSON as the reference has it."""
        return self._writer.body(row)

    def find(self, instance_id: str) -> Row:
        """Raises `NotFoundError` when no such instance was ever made."""
        rows = self.known(instance_id)
        if not rows:
            raise NotFoundError(f"the emulated cloud never made an instance {instance_id!r}")
        return rows[0]

    def known(self, instance_id: str) -> list[Row]:
        """The one of that id, or nothing."""
        number = self._identity.number(instance_id)
        return [] if number is None else self._rows[number : number + 1]

    def named(self, name: str) -> list[Row]:
        """All ever made with that name, oldest first."""
        first = [row for row in self._rows[: self._options.instances] if name_of(row) == name]
        return first + self._by_name.get(name, [])

    def matching(self, pattern: str) -> Iterator[Row]:
        """Those listed and not terminated whose name matches the glob, in the order of the listing."""
        for index in range(len(self._listing)):
            row = self._listing[index]
            if row.status != TERMINATED and fnmatchcase(name_of(row), pattern):
                yield row

    def commit(self, row: Row, lag_s: float) -> None:
        """A created row (from `new_row`) exists from now on; it boots, and is listed after `lag_s`."""
        self._add(row)
        now = row.created_at_s or 0.0
        if lag_s <= 0:
            self._list(row)
        else:
            self._later(now + lag_s, row, _LISTED)
        self._later(now + self._options.pending_s, row, PROVISIONING)
        self._later(now + self._options.pending_s + self._options.provisioning_s, row, RUNNING)
        self.advance(now)

    def new_row(self, name: str, region: str, plan: str, now: float) -> Row:
        """A row with the next number, not yet part of the fleet."""
        number = len(self._rows)
        return Row(
            number=number,
            rank=number,
            region=region,
            plan=plan,
            status=PENDING,
            name=name,
            created_at_s=now,
        )

    def advance(self, now: float) -> None:
        """Do all that was due until now."""
        while self._due and self._due[0][0] <= now:
            _, number, event = heapq.heappop(self._due)
            self._happen(self._rows[number], event)

    def set_status(self, row: Row, status: str) -> None:
        """The status becomes this, whatever it was; an instance that runs has an address from then on."""
        if row.status == status:
            return
        if not row.gone:
            self._live += (status != TERMINATED) - (row.status != TERMINATED)
        row.status = status
        row.addressed = row.addressed or status == RUNNING
        row.body = None
        for listing in self._listings_of(row):
            listing.changed(row)

    def vanish(self, row: Row) -> None:
        """It is listed no more."""
        if row.gone:
            return
        self._live -= row.status != TERMINATED
        row.gone = True
        if row.listed:
            self._unlist(row)

    def restore(self, row: Row) -> None:
        """A vanished one is back, at its place."""
        if not row.gone:
            return
        self._live += row.status != TERMINATED
        row.gone = False
        self._list(row)

    def insert_at_random(self, rng: random.Random, now: float) -> Row | None:
        """A running instance appears somewhere in the listing; None when there is no room there."""
        rank = self._random_rank(rng)
        if rank is None:
            return None
        region = rng.choice(self._options.regions).slug
        row = self.new_row(f"drift-{len(self._rows):06d}", region, "starter", now)
        row.rank, row.status, row.addressed = rank, RUNNING, True
        self._add(row)
        self._list(row)
        return row

    def remove_at_random(self, rng: random.Random) -> Row | None:
        """A listed instance vanishes for good; None when none is listed."""
        row = self._random_row(rng)
        if row is not None:
            self.vanish(row)
        return row

    def move_at_random(self, rng: random.Random) -> Row | None:
        """A listed instance goes to another place of the listing."""
        row = self._random_row(rng)
        if row is None or len(self._listing) == 1:
            return None
        self._unlist(row)
        rank = self._random_rank(rng)
        row.rank = row.rank if rank is None else rank
        self._list(row)
        return row

    def _add(self, row: Row) -> None:
        self._rows.append(row)
        self._by_name.setdefault(name_of(row), []).append(row)
        self._slugs.add(row.region)
        self._live += 1

    def _random_row(self, rng: random.Random) -> Row | None:
        return self._listing[rng.randrange(len(self._listing))] if len(self._listing) else None

    def _random_rank(self, rng: random.Random) -> float | None:
        if not len(self._listing):
            return len(self._rows)
        return self._listing.rank_before(rng.randrange(len(self._listing)), rng.uniform(0.25, 0.75))

    def _later(self, at: float, row: Row, event: str) -> None:
        heapq.heappush(self._due, (at, row.number, event))

    def _happen(self, row: Row, event: str) -> None:
        if event == _LISTED:
            if not row.gone and not row.listed:
                self._list(row)
        elif (event == PROVISIONING and row.status == PENDING) or (
            event == RUNNING and row.status in (PENDING, PROVISIONING)
        ):
            self.set_status(row, event)

    def _list(self, row: Row) -> None:
        row.listed = True
        for listing in self._listings_of(row):
            listing.insert(row)

    def _unlist(self, row: Row) -> None:
        for listing in self._listings_of(row):
            listing.remove(row)
        row.listed = False

    def _listings_of(self, row: Row) -> Iterator[Listing]:
        if not row.listed:
            return
        yield self._listing
        if row.region in self._by_region:
            yield self._by_region[row.region]


def _first_fleet(options: EmulatorOptions) -> Iterator[Row]:
    count = options.instances
    rng = random.Random(f"{options.seed}:fleet")  # noqa: S311 - repeatable on purpose
    regions = rng.choices([region.slug for region in options.regions], k=count)
    plans = rng.choices(*_FIRST_PLANS, k=count)
    for number, (region, plan) in enumerate(zip(regions, plans, strict=True)):
        stopped = options.stopped_share > 0 and rng.random() < options.stopped_share
        status = STOPPED if stopped else RUNNING
        yield Row(
            number=number, rank=number, region=region, plan=plan, status=status, addressed=True, listed=True
        )
