"""Broken engines: the real one with one part replaced by a wrong one, to see that the simulator can fail.

Each takes what a process is given and gives it back spoiled; the engine's own code stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

from nexusd.core.answers import CreateAnswer, Created, CreateRequest, NotSent, Refused, Unknown
from nexusd.core.budget import LARGEST_BURST
from nexusd.core.errors import ApiError
from nexusd.core.inventory import Sweep
from nexusd.core.lifecycle import IN_DOUBT, State
from nexusd.core.regions import RegionList
from nexusd.core.spread import Member
from nexusd.ports import Clock, CloudApi, PlacementsTable, Store, Transaction
from nexusd.simulator.process import Surroundings

T = TypeVar("T")


class Misjudged:
    """A cloud whose answers in doubt are taken for something else."""

    def __init__(self, cloud: CloudApi) -> None:
        self._cloud = cloud

    async def read_regions(self) -> RegionList:
        return await self._cloud.read_regions()

    async def sweep_instances(self) -> Sweep:
        return await self._cloud.sweep_instances()

    async def create_instance(self, request: CreateRequest, deadline: float) -> CreateAnswer:
        answer = await self._cloud.create_instance(request, deadline)
        return await self._misjudge(request, answer) if isinstance(answer, Unknown) else answer

    def last_answer_at(self, resource: str) -> float | None:
        return self._cloud.last_answer_at(resource)

    async def _misjudge(self, request: CreateRequest, answer: Unknown) -> CreateAnswer:
        raise NotImplementedError


class RetryAtOnce(Misjudged):
    async def _misjudge(self, _request: CreateRequest, answer: Unknown) -> CreateAnswer:
        return NotSent(answer.reason)


class LookUpThenRetry(Misjudged):
    async def _misjudge(self, request: CreateRequest, answer: Unknown) -> CreateAnswer:
        try:
            sweep = await self._cloud.sweep_instances()
        except ApiError:
            return answer
        found = [i for i in sweep.instances.values() if i.name == request.name]
        return Created(found[0]) if found else NotSent("it is not listed")


class FailOverWhileInDoubt(Misjudged):
    async def _misjudge(self, _request: CreateRequest, answer: Unknown) -> CreateAnswer:
        return Refused(503, "UNAVAILABLE", answer.reason, "capacity", "region")


class PostponingStore:
    """Keeps the intent of a POST back until it is told that the POST was answered."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[str, Callable[[Transaction], Any]] = {}

    async def run(self, transaction: Callable[[Transaction], T]) -> T:
        return await self._store.run(transaction)

    async def run_leading(self, transaction: Callable[[Transaction], T]) -> T:
        try:
            return await self._store.run_leading(lambda tx: _unless_it_begins(transaction, tx))
        except _BeginsError as begins:
            self._kept[begins.name] = transaction
            value: T = begins.value
            return value

    async def answered(self, name: str) -> None:
        await self._store.run_leading(self._kept.pop(name))

    @property
    def epoch(self) -> int:
        return self._store.epoch

    @property
    def leading(self) -> bool:
        return self._store.leading


class _BeginsError(Exception):
    """Undoes the transaction that begins an attempt for the placement of that name."""

    def __init__(self, name: str, value: Any) -> None:
        super().__init__(name)
        self.name = name
        self.value = value


def _unless_it_begins(transaction: Callable[[Transaction], T], tx: Transaction) -> T:
    before = {p.id for p in tx.placements.in_states([State.CREATING])}
    value = transaction(tx)
    begun = [p for p in tx.placements.in_states([State.CREATING]) if p.id not in before]
    if begun:
        raise _BeginsError(begun[0].request.name, value)
    return value


class PostFirst(Misjudged):
    """With `PostponingStore`: the intent is committed after the POST."""

    def __init__(self, cloud: CloudApi, store: PostponingStore) -> None:
        super().__init__(cloud)
        self._store = store

    async def create_instance(self, request: CreateRequest, deadline: float) -> CreateAnswer:
        answer = await self._cloud.create_instance(request, deadline)
        await self._store.answered(request.name)
        return answer


class ForgetfulStore(Store):
    """Has the whole launch budget again at each start."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._begun = False

    async def run(self, transaction: Callable[[Transaction], T]) -> T:
        return await self._store.run(transaction)

    async def run_leading(self, transaction: Callable[[Transaction], T]) -> T:
        if not self._begun:
            now = self._clock.now()
            await self._store.run_leading(lambda tx: tx.queue.save_budget(LARGEST_BURST, now))
            self._begun = True
        return await self._store.run_leading(transaction)

    @property
    def epoch(self) -> int:
        return self._store.epoch

    @property
    def leading(self) -> bool:
        return self._store.leading


class BlindStore(Store):
    """Does not count a spread group's members that are in doubt."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self, transaction: Callable[[Transaction], T]) -> T:
        return await self._store.run(lambda tx: transaction(_blind(tx)))

    async def run_leading(self, transaction: Callable[[Transaction], T]) -> T:
        return await self._store.run_leading(transaction)

    @property
    def epoch(self) -> int:
        return self._store.epoch

    @property
    def leading(self) -> bool:
        return self._store.leading


def _blind(tx: Transaction) -> Transaction:
    return cast(Transaction, _Blind(tx, {"placements": _BlindPlacements(tx.placements)}))


class _Blind:
    """What it was made from, but for the attributes that are replaced."""

    def __init__(self, whole: Any, replaced: Mapping[str, Any]) -> None:
        self._whole = whole
        self._replaced = replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced[name] if name in self._replaced else getattr(self._whole, name)


class _BlindPlacements(_Blind):
    def __init__(self, placements: PlacementsTable) -> None:
        super().__init__(placements, {"group": self._group})
        self._placements = placements

    def _group(self, name: str) -> list[Member]:
        return [member for member in self._placements.group(name) if member.state not in IN_DOUBT]


def _half_the_settle_time(given: Surroundings) -> Surroundings:
    follow = replace(given.options.follow, settle_s=given.options.follow.settle_s / 2)
    return replace(given, options=replace(given.options, follow=follow))


def _commit_after_the_post(given: Surroundings) -> Surroundings:
    store = PostponingStore(given.store)
    return replace(given, store=store, cloud=PostFirst(given.cloud, store))


VARIANTS: Mapping[str, Callable[[Surroundings], Surroundings]] = {
    "retry-at-once": lambda given: replace(given, cloud=RetryAtOnce(given.cloud)),
    "look-up-then-retry": lambda given: replace(given, cloud=LookUpThenRetry(given.cloud)),
    "half-the-settle-time": _half_the_settle_time,
    "commit-after-the-post": _commit_after_the_post,
    "forget-the-budget": lambda given: replace(given, store=ForgetfulStore(given.store, given.clock)),
    "in-doubt-absent-for-spread": lambda given: replace(given, store=BlindStore(given.store)),
    "failover-while-in-doubt": lambda given: replace(given, cloud=FailOverWhileInDoubt(given.cloud)),
}
