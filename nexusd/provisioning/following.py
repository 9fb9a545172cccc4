"""Follows what was sent: finds lost creates in the listings, and new instances until they run.

Run by `worker`. Only complete listings decide anything here, never stale or held-back data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nexusd.core import lifecycle
from nexusd.core.answers import MADE
from nexusd.core.cooling import after_success, cool_off, refused_place
from nexusd.core.lifecycle import ABSENCES_NEEDED, UNDER_WAY, Attempt, Outcome, Placement, State
from nexusd.core.names import canonical
from nexusd.core.polls import unreachable
from nexusd.core.records import Instance
from nexusd.core.world import World
from nexusd.ports import MAX_SLEW, Clock, Store
from nexusd.provisioning.journal import Journal


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """Seconds (product.md, sections 3 and 11). `timeout_s` is how long a POST may take."""

    timeout_s: float = 10.0
    settle_s: float = 300.0
    provisioning_timeout_s: float = 900.0
    hold_after_s: float = 3600.0


@dataclass(slots=True)
class Doubt:
    """Evidence from listings about one attempt with an unknown outcome.

    It is kept while this process verifies the attempt.

    `looked_at`: when it last did. `undecided_s`: how long the API has answered and yet nothing was proven.
    `similar`: an instance that may be the attempt's, kept though it may leave the listing again.
    """

    absences: int = 0
    last_began_at: float = float("-inf")
    looked_at: float = float("-inf")
    undecided_s: float = 0.0
    similar: Instance | None = None


class Follower:
    """Settles what the latest complete listing can settle."""

    def __init__(
        self, world: World, store: Store, clock: Clock, journal: Journal, options: FollowOptions
    ) -> None:
        self._world = world
        self._store = store
        self._clock = clock
        self._journal = journal
        self.options = options
        self._term_began_at = clock.now()
        self._doubts: dict[tuple[str, int], Doubt] = {}
        self._vanished: set[str] = set()
        self._names: set[str] = set()
        self._look_at = 0.0
        self.following = False

    def begin_term(self) -> None:
        """This process leads from now on. What listings showed before proves nothing: until now another may
        have been sending.
        """
        self._term_began_at = self._clock.now()
        self._doubts.clear()
        self._vanished.clear()

    def swept(self, vanished: Iterable[str]) -> None:
        """A complete listing was applied to the world; `vanished` names the instances it confirmed gone."""
        if self._store.leading:
            self._vanished.update(vanished)
        self._look_at = 0.0

    async def follow_open(self) -> None:
        """Settle what can be. Only a listing or time settles anything: between listings a look now and then
        is enough.
        """
        now = self._clock.now()
        if now < self._look_at:
            return
        placements, attempts = await self._store.run(
            lambda tx: (tx.placements.in_states(UNDER_WAY), tx.placements.last_attempts(FOLLOWED))
        )
        self._names = {canonical(p.request.name) for p in placements}
        placements = [p for p in placements if p.state in FOLLOWED]
        self._look_at = now + LOOK_EVERY_S
        self.following = bool(placements)
        self._world.add_placed_plans(
            {p.instance_id: p.request.plan for p in placements if p.instance_id is not None}
        )
        in_doubt = {(p.id, p.attempts) for p in placements if p.state is not State.PROVISIONING}
        self._doubts = {key: doubt for key, doubt in self._doubts.items() if key in in_doubt}
        vanished = {i for i in self._vanished if i not in self._world.inventory}
        for placement in placements:
            if placement.state is State.PROVISIONING:
                await self._follow(placement, attempts[placement.id], vanished)
            else:
                await self._verify(placement, attempts[placement.id])
        self._vanished -= vanished  # only now: what a failed commit left is told again

    async def adopt_late(self, placement: Placement) -> bool:
        """Adopt what an attempt made after all though it was thought absent, if the listing has it."""
        attempts = await self._store.run(lambda tx: tx.placements.attempts(placement.id))
        now = self._clock.now()
        for attempt in reversed([a for a in attempts if a.outcome in MAY_HAVE_MADE]):
            instance = lifecycle.match_instance(placement, attempt, self._world.inventory)
            if instance is not None:
                after, adopted = lifecycle.found(placement, attempt, instance, now)
                return await self._adopt(placement, after, adopted)
        return False

    async def _adopt(self, placement: Placement, after: Placement, adopted: Attempt) -> bool:
        """What was made after all shows as well as an answer that the region has capacity."""
        self._tell_of_several(after, adopted)
        now = self._clock.now()
        coolings = after_success(self._world.cooling_off, adopted.region, placement.request.plan, now)
        return await self._journal.finish(placement, after, adopted, coolings)

    def _tell_of_several(self, placement: Placement, adopted: Attempt) -> None:
        if len(lifecycle.match_instances(placement, adopted, self._world.inventory)) > 1:
            self._world.found_several(placement)

    async def _follow(self, placement: Placement, attempt: Attempt, vanished: set[str]) -> None:
        now = self._clock.now()
        if attempt.outcome is Outcome.ADOPTED and placement.request.name not in self._world.shared_names:
            self._tell_of_several(placement, attempt)  # whoever adopted it may be dead, untold
        if placement.instance_id is None or placement.instance_id not in self._world.inventory:
            placement = await self._learn_id(placement, attempt, now)
        if placement.instance_id in vanished:
            await self._journal.move(placement, lifecycle.vanished(placement, now))
            return
        timeout_s = self.options.provisioning_timeout_s
        mine = attempt.epoch == self._store.epoch  # whose instants this clock told, a reload or not
        term_began_at = float("-inf") if mine else self._term_began_at
        after = lifecycle.followed(placement, self._world.inventory, timeout_s, term_began_at, now)
        if after is not None:
            await self._journal.move(placement, after)

    async def _learn_id(self, placement: Placement, attempt: Attempt, now: float) -> Placement:
        """Return it with its listed id, which the create's response lacked or had wrong."""
        world = self._world
        instance = lifecycle.identify(placement, attempt, world.inventory, world.placed_plans, self._names)
        if instance is None:
            return placement
        known = lifecycle.named(placement, instance.id, now)
        return known if await self._journal.move(placement, known) else placement

    async def _verify(self, placement: Placement, attempt: Attempt) -> None:
        now = self._clock.now()
        instance = lifecycle.match_instance(placement, attempt, self._world.inventory)
        if instance is not None:
            after, adopted = lifecycle.found(placement, attempt, instance, now)
            await self._adopt(placement, after, adopted)
            return
        quiet_until = self._quiet_until(attempt)
        doubt = self._doubts.setdefault((placement.id, attempt.number), Doubt())
        world = self._world
        similar = lifecycle.similar_instances(placement, attempt, world.inventory, world.placed_plans)
        before = doubt.similar
        if before is not None and lifecycle.is_of_another(placement, before, world.placed_plans):
            before = None  # it was listed before the placement that made it had its id
        doubt.similar = next(iter(similar), before)
        if self._absences(doubt, quiet_until, now) >= ABSENCES_NEEDED:
            reason = lifecycle.not_absent_reason(placement, attempt, doubt.similar)
            if reason is None:
                await self._give_up_attempt(placement, attempt, now)
            elif placement.state is State.VERIFYING or attempt.kind != MADE:
                held, made = lifecycle.hold_as_made(placement, attempt, reason, now)
                await self._journal.move(placement, held, made)
        elif (
            placement.state is State.VERIFYING
            and self._undecided_s(doubt, quiet_until, now) > self.options.hold_after_s
        ):
            held = lifecycle.hold(placement, "neither found nor proven absent: sweeps stay incomplete", now)
            await self._journal.move(placement, held)

    async def _give_up_attempt(self, placement: Placement, attempt: Attempt, now: float) -> None:
        """Proven absent. The region that answered nothing definite cools off, so another is tried first."""
        after, absent = lifecycle.proven_absent(placement, attempt, now)
        said = (attempt.kind or "", attempt.scope or "region", attempt.region, placement.request.plan)
        place = refused_place(*said) or (attempt.region, "")
        reason = attempt.code or "an attempt that made nothing"
        cooling = cool_off(place, self._world.cooling_off.get(place), reason, now)
        await self._journal.finish(placement, after, absent, {place: cooling})

    def _undecided_s(self, doubt: Doubt, quiet_until: float, now: float) -> float:
        """Since the quiet time, but for outages: what nobody can read may still be proven in the end."""
        since = max(quiet_until, doubt.looked_at)
        doubt.looked_at = now
        if since < now and not unreachable(tuple(self._world.polls.values()), now):
            doubt.undecided_s += min(now - since, LONGEST_LOOK_S)
        return doubt.undecided_s

    def _absences(self, doubt: Doubt, quiet_until: float, now: float) -> int:
        """How many complete listings, begun after the quiet time, did not have the instance. None counts of
        those that lost most of what there was: an API that shows an empty account may come to its senses.
        """
        inventory = self._world.inventory
        began_at = inventory.began_at
        lost_at = inventory.lost_most_at
        if lost_at is not None and now - lost_at < self.options.settle_s:
            doubt.absences = 0
            return 0
        if began_at is None or inventory.hold is not None or inventory.mostly_missed:
            return doubt.absences
        if began_at > quiet_until and began_at > doubt.last_began_at:
            doubt.absences += 1
            doubt.last_began_at = began_at
        return doubt.absences

    def _quiet_until(self, attempt: Attempt) -> float:
        options = self.options
        settle_s = options.settle_s * (1 + MAX_SLEW)  # the clock may run too fast
        epoch = self._store.epoch
        return lifecycle.quiet_until(attempt, settle_s, epoch, self._term_began_at, options.timeout_s)


LOOK_EVERY_S = 5.0
LONGEST_LOOK_S = 60.0
"""So much of the time between two looks counts at most: a store that was away let nobody look."""
MAY_HAVE_MADE = frozenset({None, Outcome.UNKNOWN, Outcome.ABSENT})
"""How an attempt ended that may have made an instance after all."""
FOLLOWED = [State.VERIFYING, State.HELD, State.PROVISIONING]
