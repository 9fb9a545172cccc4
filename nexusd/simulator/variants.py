"""Broken engines: the real one with one part replaced by a wrong one, to see that the simulator can fail.

Each takes what a process is given and gives it back spoiled; the engine's own code stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar, cast

import msgspec

from nexusd.core.answers import CreateAnswer, Created, CreateRequest, NotSent, Refused, Unknown
from nexusd.core.budget import LARGEST_BURST
from nexusd.core.errors import ApiError
from nexusd.core.fleets import FleetPlacements
from nexusd.core.lifecycle import IN_DOUBT, Placement, State
from nexusd.core.records import Instance
from nexusd.core.regions import RegionList
from nexusd.core.spread import Group
from nexusd.core.sweeps import Sweep
from nexusd.ports import Clock, CloudApi, PlacementsTable, Store, Transaction
from nexusd.simulator.network import Connection
from nexusd.simulator.process import Surroundings

T = TypeVar("T")
Spoil: TypeAlias = Callable[[Surroundings], Surroundings]


@dataclass(frozen=True, slots=True)
class InDoubt:
    """A POST whose outcome is not known."""

    request: CreateRequest
    answer: Unknown


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
        return await self._misjudge(InDoubt(request, answer)) if isinstance(answer, Unknown) else answer

    def last_answer_at(self, resource: str) -> float | None:
        return self._cloud.last_answer_at(resource)

    async def _misjudge(self, sent: InDoubt) -> CreateAnswer:
        return sent.answer


class RetryAtOnce(Misjudged):
    async def _misjudge(self, sent: InDoubt) -> CreateAnswer:
        return NotSent(sent.answer.reason)


class LookUpThenRetry(Misjudged):
    async def _misjudge(self, sent: InDoubt) -> CreateAnswer:
        try:
            sweep = await self._cloud.sweep_instances()
        except ApiError:
            return sent.answer
        found = [i for i in sweep.instances.values() if i.name == sent.request.name]
        return Created(found[0]) if found else NotSent("it is not listed")


class FailOverWhileInDoubt(Misjudged):
    async def _misjudge(self, sent: InDoubt) -> CreateAnswer:
        return Refused(503, "UNAVAILABLE", sent.answer.reason, "capacity", "region")


class SendAnsweredAgain(Misjudged):
    """A 2xx counts as not sent unless it has an id and the name as it was requested."""

    async def create_instance(self, request: CreateRequest, deadline: float) -> CreateAnswer:
        answer = await self._cloud.create_instance(request, deadline)
        if isinstance(answer, Created) and (answer.instance is None or answer.instance.name != request.name):
            return NotSent("the answer is about another instance")
        return answer


class ExactNamesOnly(Misjudged):
    """A listed name that is not exactly the requested one is any other name."""

    def __init__(self, cloud: CloudApi) -> None:
        super().__init__(cloud)
        self._connection = cast(Connection, cloud)

    async def sweep_instances(self) -> Sweep:
        sweep = await self._cloud.sweep_instances()
        return replace(sweep, instances={key: self._seen(i) for key, i in sweep.instances.items()})

    def _seen(self, instance: Instance) -> Instance:
        if self._connection.requested_name(instance.id) in {None, instance.name}:
            return instance
        return msgspec.structs.replace(instance, name=f"unrelated {instance.id}")


class HammerDryRegions(Misjudged):
    """A refusal for want of capacity is put down to the request's bad luck: nothing cools off."""

    async def create_instance(self, request: CreateRequest, deadline: float) -> CreateAnswer:
        answer = await self._cloud.create_instance(request, deadline)
        if isinstance(answer, Refused) and answer.kind == "capacity":
            return replace(answer, scope="request")
        return answer


class WrappedStore:
    """A store that hands all on; what is made of it spoils something."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self, transaction: Callable[[Transaction], T]) -> T:
        return await self._store.run(transaction)

    async def run_leading(self, transaction: Callable[[Transaction], T]) -> T:
        return await self._store.run_leading(transaction)

    async def read(self, transaction: Callable[[Transaction], T]) -> T:
        return await self.run(transaction)

    @property
    def epoch(self) -> int:
        return self._store.epoch

    @property
    def leading(self) -> bool:
        return self._store.leading


class PostponingStore(WrappedStore):
    """Keeps the intent of a POST back until it is told that the POST was answered."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._kept: dict[str, Callable[[Transaction], Any]] = {}

    async def run_leading(self, transaction: Callable[[Transaction], T]) -> T:
        try:
            return await self._store.run_leading(lambda tx: _unless_it_begins(transaction, tx))
        except _UndoneError as undone:
            self._kept[undone.name] = transaction
            value: T = undone.value
            return value

    async def answered(self, name: str) -> None:
        await self._store.run_leading(self._kept.pop(name))


class _UndoneError(Exception):
    """Undoes the transaction that has just been run, for the placement of that name."""

    def __init__(self, name: str, value: Any) -> None:
        super().__init__(name)
        self.name = name
        self.value = value


def _unless_it_begins(transaction: Callable[[Transaction], T], tx: Transaction) -> T:
    before = {p.id for p in tx.placements.in_states([State.CREATING])}
    value = transaction(tx)
    begun = [p for p in tx.placements.in_states([State.CREATING]) if p.id not in before]
    if begun:
        raise _UndoneError(begun[0].request.name, value)
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


class HastyStore(WrappedStore):
    """Says yes to a client before the commit, which never comes."""

    async def run(self, transaction: Callable[[Transaction], T]) -> T:
        def undone(tx: Transaction) -> T:
            value = transaction(tx)
            if isinstance(value, tuple) and isinstance(value[0], Placement):
                raise _UndoneError(value[0].request.name, value)
            return value

        try:
            return await self._store.run(undone)
        except _UndoneError as undone_error:
            answer: T = undone_error.value
            return answer


class ForgetfulStore(WrappedStore):
    """Has the whole launch budget again at each start."""

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store)
        self._clock = clock
        self._begun = False

    async def run_leading(self, transaction: Callable[[Transaction], T]) -> T:
        if not self._begun:
            now = self._clock.now()
            await self._store.run_leading(lambda tx: tx.queue.save_budget(LARGEST_BURST, now))
            self._begun = True
        return await self._store.run_leading(transaction)


class BlindStore(WrappedStore):
    """Whose transactions see placements through something: `blind` makes that of the table."""

    def __init__(self, store: Store, blind: Callable[[PlacementsTable], _Blind]) -> None:
        super().__init__(store)
        self._blind = blind

    async def run(self, transaction: Callable[[Transaction], T]) -> T:
        return await self._store.run(lambda tx: transaction(self._blinded(tx)))

    async def run_leading(self, transaction: Callable[[Transaction], T]) -> T:
        return await self._store.run_leading(lambda tx: transaction(self._blinded(tx)))

    def _blinded(self, tx: Transaction) -> Transaction:
        return cast(Transaction, _Blind(tx, {"placements": self._blind(tx.placements)}))


class _Blind:
    """What it was made from, but for the attributes that are replaced."""

    def __init__(self, whole: Any, replaced: Mapping[str, Any]) -> None:
        self._whole = whole
        self._replaced = replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced[name] if name in self._replaced else getattr(self._whole, name)


def _without_doubtful_members(placements: PlacementsTable) -> _Blind:
    def group(name: str, fleets: Iterable[str], since: float) -> Group:
        whole = placements.group(name, fleets, since)
        return replace(whole, members=[m for m in whole.members if m.state not in IN_DOUBT])

    return _Blind(placements, {"group": group})


def _without_a_fleets_doubts(placements: PlacementsTable) -> _Blind:
    def members(fleet: str) -> list[Placement]:
        return [placement for placement in placements.members(fleet) if placement.state not in IN_DOUBT]

    def of_fleets(names: Iterable[str], *, count_made: bool) -> dict[str, FleetPlacements]:
        found = placements.of_fleets(names, count_made=count_made)
        return {name: replace(found[name], open=members(name)) for name in found}

    return _Blind(placements, {"members": members, "of_fleets": of_fleets})


def _settled_in(share: float) -> Spoil:
    """Absence is believed after this share of the time that it takes."""

    def spoil(given: Surroundings) -> Surroundings:
        follow = replace(given.options.follow, settle_s=given.options.follow.settle_s * share)
        return replace(given, options=replace(given.options, follow=follow))

    return spoil


def _by_policy(**changes: Any) -> Spoil:
    def spoil(given: Surroundings) -> Surroundings:
        return replace(given, options=replace(given.options, policy=replace(given.options.policy, **changes)))

    return spoil


def _commit_after_the_post(given: Surroundings) -> Surroundings:
    store = PostponingStore(given.store)
    return replace(given, store=store, cloud=PostFirst(given.cloud, store))


VARIANTS: Mapping[str, Spoil] = {
    "retry-at-once": lambda given: replace(given, cloud=RetryAtOnce(given.cloud)),
    "look-up-then-retry": lambda given: replace(given, cloud=LookUpThenRetry(given.cloud)),
    "half-the-settle-time": _settled_in(0.5),
    "commit-after-the-post": _commit_after_the_post,
    "failover-while-in-doubt": lambda given: replace(given, cloud=FailOverWhileInDoubt(given.cloud)),
    "forget-the-budget": lambda given: replace(given, store=ForgetfulStore(given.store, given.clock)),
    "in-doubt-absent-for-spread": lambda given: replace(
        given, store=BlindStore(given.store, _without_doubtful_members)
    ),
    "in-doubt-absent-for-fleets": lambda given: replace(
        given, store=BlindStore(given.store, _without_a_fleets_doubts)
    ),
    "answer-before-the-commit": lambda given: replace(given, store=HastyStore(given.store)),
    "wait-for-ever": _settled_in(10.0),
    "forget-the-cap": _by_policy(max_per_region=None),
    "trust-stale-data": _by_policy(max_data_age_s=1e9, max_inventory_age_s=1e9),
    "exact-name-only": lambda given: replace(given, cloud=ExactNamesOnly(given.cloud)),
    "answered-create-sent-again": lambda given: replace(given, cloud=SendAnsweredAgain(given.cloud)),
    "hammer-dry-regions": lambda given: replace(given, cloud=HammerDryRegions(given.cloud)),
}
