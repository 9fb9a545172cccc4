"""All parts that the configuration shapes, built from it and run together until stopped. Owned by `app`.

Built anew at each reload: building raises `ConfigError` and changes nothing; only `start` and `run` act.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any

import structlog

from nexusd.cloud.client import CloudNexus
from nexusd.core.errors import (
    ConfigError,
    InputError,
    LeaseLostError,
    StoreUnavailableError,
    UnauthorizedError,
)
from nexusd.core.events import Event
from nexusd.core.lifecycle import State
from nexusd.core.limits import InstanceLimits
from nexusd.core.placement import PlacementPolicy
from nexusd.core.polls import INSTANCES, REGIONS, needs_early_poll
from nexusd.core.world import World
from nexusd.cycle import Cycle, Observers, Parts
from nexusd.delivery.deliveries import Deliveries
from nexusd.ports import Clock, Daemon, ReceiverTest
from nexusd.provisioning.fleets import FleetKeeper
from nexusd.provisioning.intake import STATE_CHANGED, Intake
from nexusd.provisioning.worker import Provisioner
from nexusd.runtime.descriptors import max_connections
from nexusd.runtime.schedule import Schedule
from nexusd.runtime.suspension import watch_suspensions
from nexusd.runtime.tasks import run_until_stopped, until_stopped
from nexusd.settings import Settings, parts, receiving
from nexusd.silencing import Silencing
from nexusd.store.store import SqlStore
from nexusd.web.listening import Listening
from nexusd.web.metrics import MetricsRegistry
from nexusd.web.server import Taking, Telling, WebServer
from nexusd.web.stream import EventStream, StreamOptions, max_readers

log = structlog.get_logger(__name__)

LEASE_TRIES_S = 5.0
"""How often the lease is renewed, or tried for."""
FOLLOW_EVERY_S = 5.0
"""How often the instances are read while a placement is followed, if a sweep takes less than this:"""
CHEAP_SWEEP_S = 0.5
HURRIED = frozenset({State.PROVISIONING.value, State.VERIFYING.value})
"""A placement that comes into one of these wants a listing soon."""


@dataclass(frozen=True, slots=True)
class Lasting:
    """What lives as long as the process."""

    world: World
    store: SqlStore
    clock: Clock
    rng: random.Random
    metrics: MetricsRegistry


class Engine:
    """`stop` set, it ends in order: no new POST begins, one in flight is awaited for `shutdown_timeout_s`."""

    def __init__(self, lasting: Lasting, loaded: Settings, daemon: Daemon) -> None:
        """Raises `ConfigError`."""
        try:
            self._build(lasting, loaded, daemon)
        except InputError as error:
            raise ConfigError(str(error)) from error

    def _build(self, lasting: Lasting, loaded: Settings, daemon: Daemon) -> None:
        world, store, clock, rng, metrics = (
            lasting.world,
            lasting.store,
            lasting.clock,
            lasting.rng,
            lasting.metrics,
        )
        self.loaded = loaded
        self.stop = asyncio.Event()
        self._lasting = lasting
        self._daemon = daemon
        self._alerting = parts.alerting(loaded)
        self._provisioning = parts.provisioning_options(loaded)
        self._key = parts.key_source(loaded)
        self._key_used: str | None = None
        cloud_options = parts.cloud_options(loaded)
        self._cloud = CloudNexus(cloud_options, self._key, clock, rng, metrics, world.known)
        self._schedule = Schedule(clock, rng, parts.poll_timings(loaded), metrics.poll_skipped)
        self._deliveries = Deliveries(receiving.delivery_options(loaded), world, store, clock, rng, metrics)
        self._provisioner = Provisioner(
            world,
            store,
            self._cloud,
            clock,
            metrics,
            self._provisioning,
            self._placements_changed,
            FleetKeeper(world, store, clock, rng, self._placements_changed),
        )
        intake = Intake(world, store, clock, rng, self._provisioning.policy, self._asked)
        taking = Taking(intake, Silencing(store, clock, rng, self._silences_changed))
        connections = max_connections()
        self._stream = EventStream(store, clock, metrics, StreamOptions(max_readers=max_readers(connections)))
        telling = Telling(store, self._stream)
        web_options = replace(parts.web_options(loaded), max_connections=connections)
        self._web = WebServer(web_options, daemon, taking, telling, metrics, clock)
        self._cycle: Cycle | None = None
        self._term_began_at: float | None = None
        for name in receiving.receiver_names(loaded):
            metrics.expect_receiver(name)

    @property
    def policy(self) -> PlacementPolicy:
        return self._provisioning.policy

    @property
    def listens_at(self) -> tuple[str, int]:
        """The host, "" for every address, and the port that are to be listened at."""
        return self.loaded.server.address

    @property
    def url(self) -> str:
        """Where the web server is; known once started."""
        return self._web.url

    @property
    def key_refused(self) -> bool:
        """Whether a create was refused for the key."""
        return self._provisioner.key_refused

    @property
    def shutdown_timeout_s(self) -> float:
        return self.loaded.server.shutdown_timeout_s

    def parts(self) -> Parts:
        """What the cycle takes from this configuration."""
        observers = Observers(
            regions=self._provisioner.wake,
            swept=self._swept,
            outbox=self._deliveries.added,
            recorded=self._stream.wake,
        )
        polling = self.loaded.polling
        return Parts(
            cloud=self._cloud,
            alerting=self._alerting,
            compose=self._deliveries.compose,
            outbox_changes=lambda: self._deliveries.changes,
            intervals_s={REGIONS: polling.regions_s, INSTANCES: polling.instances_s},
            observers=observers,
            smoothing_s=self.loaded.placement.smoothing_s,
            fleets=parts.fleets(self.loaded),
            limits=InstanceLimits.of(self.policy),
        )

    def replayed(self, receivers: Iterable[str]) -> None:
        """Messages for these are pending again."""
        self._deliveries.wake(receivers)

    async def test_receivers(self, name: str | None) -> list[ReceiverTest]:
        return await self._deliveries.test(name)

    def progress(self, cycle: Cycle) -> dict[str, float]:
        """When each worker last made a pass, or was told to begin."""
        began_at = self._term_began_at
        if not self._lasting.store.leading or began_at is None:
            return {"the cycle": cycle.progressed_at}
        workers = {"placing": self._provisioner.progressed_at, **self._deliveries.progress()}
        return {"the cycle": cycle.progressed_at, **{name: max(began_at, at) for name, at in workers.items()}}

    async def start(self, cycle: Cycle, listening: Listening) -> None:
        self._cycle = cycle
        cycle.reconfigure(self.parts())
        await self._web.start(listening)

    async def run(self) -> None:
        """Until stopped. The web server answers until the last worker has ended."""
        if self._cycle is None:
            raise RuntimeError("start comes before run")
        cycle = self._cycle
        try:
            async with self._cloud, self._schedule:
                tasks: dict[str, Coroutine[Any, Any, None]] = {
                    "regions poll": self._poll(REGIONS, cycle.poll_regions),
                    "instances poll": self._poll(INSTANCES, cycle.poll_instances),
                    "cycle": until_stopped(cycle.run(), self.stop),
                    "leader": self._lead(cycle),
                    "suspensions": self._watch_suspensions(),
                    "event stream": until_stopped(self._stream.run(), self.stop),
                    "web": until_stopped(self._web.keep_ready(), self.stop),
                }
                await run_until_stopped(tasks, self.stop, self.shutdown_timeout_s)
        finally:
            await self._web.stop()
            await self._deliveries.close()

    async def _watch_suspensions(self) -> None:
        lasting = self._lasting

        def resumed() -> None:
            for resource in (REGIONS, INSTANCES):
                self._schedule.hurry(resource)

        await until_stopped(watch_suspensions(lasting.world, lasting.clock, resumed), self.stop)

    async def _poll(self, resource: str, poll: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def turns() -> None:
            while True:
                async with self._schedule.turn(resource):
                    await poll()
                self._poll_other_early(resource)
                if self._key_changed():
                    self._provisioner.resume()
                if resource == INSTANCES and self._provisioner.following and self._sweeps_are_cheap():
                    await asyncio.sleep(FOLLOW_EVERY_S)
                    self._schedule.hurry(INSTANCES)

        await until_stopped(turns(), self.stop)

    def _poll_other_early(self, polled: str) -> None:
        polls = self._lasting.world.polls
        for resource, poll in polls.items():
            if resource != polled and needs_early_poll(poll, polls.values(), self._lasting.clock.now()):
                self._schedule.hurry(resource)

    def _key_changed(self) -> bool:
        """Whether there is another key than at the last poll: what the old one was refused may work now."""
        try:
            before, self._key_used = self._key_used, self._key.current()
        except UnauthorizedError:
            return False
        return before not in {None, self._key_used}

    def _sweeps_are_cheap(self) -> bool:
        """Whether the listing may be read oftener than its interval while somebody waits for an instance."""
        poll = self._lasting.world.polls[INSTANCES]
        return poll.interval_s > FOLLOW_EVERY_S and (poll.duration_s or 0.0) < CHEAP_SWEEP_S

    async def _lead(self, cycle: Cycle) -> None:
        """Place and notify while this process holds the lease; wait for it while another does."""
        store = self._lasting.store
        while not self.stop.is_set():
            if not await self._may_lead(cycle):
                await self._pause(LEASE_TRIES_S)
                continue
            try:
                self._term_began_at = self._lasting.clock.now()
                await self._lead_one_term(cycle)
            except* LeaseLostError:
                log.warning("lease_lost", epoch=store.epoch)
            finally:
                self._term_began_at = None

    async def _may_lead(self, cycle: Cycle) -> bool:
        """Take the lease, and begin where the last term ended. False also while the store is not there."""
        store = self._lasting.store
        try:
            if not store.leading and not await store.acquire_lease():
                return False
            if store.epoch != cycle.restored_epoch:
                await cycle.restore()
        except StoreUnavailableError as error:
            log.warning("store_unavailable", waiting="the lease", error=str(error))
            return False
        return True

    async def _lead_one_term(self, cycle: Cycle) -> None:
        async with asyncio.TaskGroup() as group:
            renewal = group.create_task(self._renew(cycle), name="lease")
            async with asyncio.TaskGroup() as workers:
                workers.create_task(self._provisioner.run(), name="placing")
                workers.create_task(self._deliveries.run(self.stop, self._healthy), name="deliveries")
                await self.stop.wait()
                self._provisioner.drain()
            renewal.cancel()

    def _healthy(self) -> bool:
        return self._daemon.not_healthy() is None

    async def _renew(self, cycle: Cycle) -> None:
        """Raises `LeaseLostError` when the lease is another's, or ran out while the store was not there; also
        when it ran out for a moment, in which the cycle dropped what it had to write.
        """
        store = self._lasting.store
        while True:
            await asyncio.sleep(LEASE_TRIES_S)
            try:
                renewed = await store.renew_lease()
            except StoreUnavailableError as error:
                log.warning("store_unavailable", waiting="the lease", error=str(error))
                renewed = store.leading
            if not renewed or cycle.restored_epoch != store.epoch:
                raise LeaseLostError("the lease is another replica's, or ran out")

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            return

    def _asked(self, events: list[Event]) -> None:
        """A person or program placed, cancelled or resolved something. What is only new alerts nobody yet."""
        self._provisioner.wake()
        self._stream.wake()
        if any(event.type == STATE_CHANGED for event in events):
            self._placements_changed(events)

    def _placements_changed(self, events: list[Event]) -> None:
        """Alerts may depend on it, and a new instance is looked for soon."""
        self._stream.wake()
        if self._cycle is not None:
            self._cycle.wake()
        if any(event.detail.get("to") in HURRIED for event in events):
            self._schedule.hurry(INSTANCES)

    def _swept(self, vanished: frozenset[str]) -> None:
        self._provisioner.swept(vanished)
        self._web.swept()

    def _silences_changed(self) -> None:
        self._stream.wake()
        if self._cycle is not None:
            self._cycle.wake()
