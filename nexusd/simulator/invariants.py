"""What must never happen (docs/simulator.md), checked as each thing happens."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from nexusd.core.answers import CreateRequest
from nexusd.core.lifecycle import IN_DOUBT, Attempt, Placement, State
from nexusd.core.regions import RegionSnapshot
from nexusd.simulator.bounds import Bounds
from nexusd.simulator.cloud import Existing
from nexusd.simulator.ledger import Ledger, Record
from nexusd.simulator.options import OPERATOR_EVERY_S, POLL_S, SETTLE_S, TIMEOUT_S
from nexusd.simulator.trace import Trace

REMEMBERED_S = 1800.0
"""How long a closed placement is still watched: beyond any answer that may yet come."""
DECIDED_WITHIN_S = TIMEOUT_S + SETTLE_S + 2.2 * POLL_S["instances"] + 5.0 + OPERATOR_EVERY_S
"""I8: the quiet time, two polls with their jitter, the readings themselves, and the operator's answer."""


@dataclass(frozen=True, slots=True)
class Breach:
    """An invariant that did not hold. `story`: what led to it, a line each."""

    invariant: str
    what: str
    story: tuple[str, ...]


class Invariants:
    """The ledger's auditor. `broken` is set at the first breach, and the rest is not looked at any more."""

    def __init__(self, ledger: Ledger, trace: Trace) -> None:
        self._ledger = ledger
        self._trace = trace
        self._loop = asyncio.get_running_loop()
        self._made: dict[str, list[str]] = {}
        self._intended_at: dict[str, float] = {}
        self._closed: deque[tuple[float, str]] = deque()
        self.good_listings = 0
        self.counts: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.bounds = Bounds(ledger, self.counts, self._break)
        self.breach: Breach | None = None
        self.broken = asyncio.Event()

    # from the network and the cloud

    def posting(self, request: CreateRequest) -> str:
        """The first byte of a POST is about to be sent; whose it is."""
        self.counts["posts"] += 1
        record = self._ledger.open_by_name.get(request.name)
        if record is None:
            self._break("I1", f"a POST for {request.name}, which no open placement has", None)
            return ""
        placement = record.placement
        self._trace.happened_to(placement.id, f"POST to {request.region}")
        attempt = record.attempts[-1] if record.attempts else None
        if placement.state is not State.CREATING or attempt is None or attempt.region != request.region:
            self._break("I1", f"a POST to {request.region} before its intent was committed", placement.id)
        self.bounds.posting(request, placement)
        return placement.id

    def made(self, existing: Existing) -> None:
        """The cloud made an instance."""
        self.counts["instances"] += 1
        owner, instance = existing.owner, existing.instance
        ids = self._made.setdefault(owner, [])
        ids.append(instance.id)
        record = self._ledger.records.get(owner)
        if len(ids) > 1:
            self._break("I1", f"{instance.name} was made twice: {' and '.join(ids)}", owner)
        elif record is None or record.placement.state in {State.CANCELLED, State.EXPIRED}:
            self._break("I1", f"{instance.id} was made for a placement that was given up", owner)
        self.bounds.made(existing)

    def refused_dry(self, region: str, owner: str) -> None:
        self.bounds.refused_dry(region, owner)

    def owner_open(self, placement_id: str) -> bool:
        record = self._ledger.records.get(placement_id)
        return record is not None and record.open

    # from the ledger

    def accepted(self, record: Record) -> None:
        self.counts["accepted"] += 1
        request = record.placement.request
        self._trace.happened_to(record.placement.id, f"accepted as {request.name} {_told(record.placement)}")
        self.bounds.accepted(record)

    def moved(self, before: Placement, record: Record) -> None:
        after = record.placement
        if after.state is before.state:
            return
        why = f": {after.reason}" if after.reason is not None else ""
        self._trace.happened_to(after.id, f"{before.state} → {after.state}{why}")
        if record.open:
            return
        self.ended[after.state.value] += 1
        self._check_end(after)
        self._closed.append((self._loop.time(), after.id))
        self._forget_old()

    def intended(self, record: Record) -> None:
        self.counts["attempts"] += 1
        attempt = record.attempts[-1]
        self._intended_at[record.placement.id] = self._loop.time()
        self._trace.happened_to(
            record.placement.id, f"intent {attempt.number} for {attempt.region}, term {attempt.epoch}"
        )
        self.bounds.intended(record)

    def answered(self, record: Record, attempt: Attempt) -> None:
        self.counts[f"attempts {attempt.outcome}"] += 1
        self._trace.happened_to(
            record.placement.id, f"attempt {attempt.number} {attempt.outcome}: {attempt.detail}"
        )

    def regions_saved(self, snapshot: RegionSnapshot) -> None:
        self.bounds.regions_saved(snapshot)

    def listed(self) -> None:
        self.good_listings += 1
        self.bounds.listed()

    # from the clients and the supervisor

    def acknowledged(self, placement_id: str) -> None:
        """A client was told 202."""
        if placement_id not in self._ledger.records:
            self._break("I2", f"{placement_id} was accepted and is not in the store", None)

    def has_made(self, placement_id: str) -> bool:
        """Return whether the cloud made an instance for a placement."""
        return bool(self._made.get(placement_id))

    def restarted(self, stored: dict[str, str]) -> None:
        """Compare what the file has with what was committed: every open placement, in its state."""
        known = {r.placement.id: r.placement.state.value for r in self._ledger.open_by_name.values()}
        if known == stored:
            return
        lost = sorted(known.items() - stored.items()) or sorted(stored.items() - known.items())
        self._break("I2", f"committed, and not so in the store: {lost[0]}", lost[0][0])

    def died(self, error: BaseException) -> None:
        self._break("the daemon", f"died by itself: {error!r}", None)

    async def decides(self) -> None:
        """All faults have ended and a process runs: what is in doubt now must be decided soon (I8)."""
        began_at = self._loop.time()
        await asyncio.sleep(DECIDED_WITHIN_S)
        self._check_decided(began_at)

    def drained(self, work: Iterable[Record], within_s: float) -> None:
        """The work has had the time to end."""
        for record in work:
            what = f"still {record.placement.state} {within_s:.0f} s after all faults ended"
            self._break("I8", what, record.placement.id)
            return

    # the checks

    def _check_decided(self, began_at: float) -> None:
        for record in self._ledger.open_by_name.values():
            placement = record.placement
            if placement.state in IN_DOUBT and self._intended_at[placement.id] < began_at:
                what = f"still {placement.state} {DECIDED_WITHIN_S:.0f} s after the faults ended"
                self._break("I8", what, placement.id)
                return

    def _check_end(self, placement: Placement) -> None:
        made = self._made.get(placement.id, [])
        if placement.state in {State.CANCELLED, State.EXPIRED} and made:
            self._break("I1", f"{placement.state}, though {made[0]} was made for it", placement.id)
        if placement.state is State.RUNNING and placement.instance_id not in made:
            self._break("I1", f"runs as {placement.instance_id}, which was made for another", placement.id)

    def _forget_old(self) -> None:
        before = self._loop.time() - REMEMBERED_S
        while self._closed and self._closed[0][0] < before:
            _, placement_id = self._closed.popleft()
            self._ledger.forget(placement_id)
            self._trace.forget(placement_id)
            self._made.pop(placement_id, None)
            self._intended_at.pop(placement_id, None)

    def _break(self, invariant: str, what: str, placement_id: str | None) -> None:
        if self.breach is not None:
            return
        self._trace.happened(f"{invariant} is broken: {what}")
        story = self._trace.story(placement_id) if placement_id is not None else self._trace.latest(40)
        about = f" ({placement_id})" if placement_id is not None else ""
        self.breach = Breach(invariant, f"{what}{about}", tuple(story))
        self.broken.set()


def _told(placement: Placement) -> str:
    request = placement.request
    parts = [f"priority {request.priority}"]
    if request.regions is not None:
        parts.append(f"in {' or '.join(request.regions)}")
    if request.avoid_regions:
        parts.append(f"not in {', '.join(request.avoid_regions)}")
    if request.deadline is not None:
        parts.append(f"until {request.deadline - placement.created_at:.0f} s from now")
    return f"({'; '.join(parts)})"
