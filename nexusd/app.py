"""The composition root: builds every part from the settings, starts and stops them. Read this first.

What lives as long as the process (clock, store, world, metrics, cycle) is built once, in `serve`; what the
configuration shapes (client, schedule, workers, web server) is an `Engine`, built anew at each reload. A
configuration that cannot be used fails while the new engine is built, so nothing has changed by then.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import structlog

from nexusd import __version__, settings
from nexusd.core.errors import ConfigError, LeaseLostError, StartError, StoreError, StoreUnavailableError
from nexusd.core.placement import Considered
from nexusd.core.polls import INSTANCES, REGIONS, PollState, unauthorized
from nexusd.core.recordings import forget_before
from nexusd.core.world import World
from nexusd.cycle import Cycle
from nexusd.engine import Engine, Lasting
from nexusd.ports import Clock, ReceiverTest, Transaction
from nexusd.provisioning.supply import ANYTHING, Shortlists, Standing
from nexusd.runtime import descriptors, loop, threads
from nexusd.runtime.clock import SystemClock
from nexusd.runtime.lag import probe_lag
from nexusd.runtime.logs import LogOptions, logs_configured, set_level
from nexusd.runtime.systemd import Notifier, feed_watchdog
from nexusd.runtime.tasks import run_until_stopped, signals_handled, until_stopped
from nexusd.settings import Settings
from nexusd.settings.receiving import receiver_names
from nexusd.store.opening import StoreOptions, open_store
from nexusd.web.listening import Listening, listen
from nexusd.web.metrics import MetricsRegistry

log = structlog.get_logger(__name__)

Load = Callable[[], Settings]

HOUSEKEEPING_EVERY_S = 3600.0
IDEMPOTENCY_KEPT_S = 24 * 3600.0
"""How long an `Idempotency-Key` is remembered."""
UNCOMMITTED_INTERVALS = 3
"""A daemon that could not commit for so many poll intervals is not healthy."""
RELEASE_WITHIN_S = 2.0
"""How long a stop waits for the lease to be released; otherwise it expires."""
STORE_PATIENCE_S = 5.0
"""Longest time without a response or a commit of the store before `/-/ready` is 503.

It equals the wait for a lock (`StoreOptions.lock_timeout_s`)."""
CLOCK_DIFFERENCE_S = 5.0
"""A larger difference between this machine's clock and PostgreSQL's is logged."""
STUCK_AFTER_S = 180.0
"""A worker that has made no pass for so long is not healthy: each makes one at least every minute."""


def run(config: Path | None, overrides: Mapping[str, object]) -> None:
    """Run the daemon until it is told to stop.

    Raises `ConfigError` (exit 2) and `StartError` (exit 1) before anything has begun.
    """

    def load() -> Settings:
        return settings.load(config, overrides)

    loaded = load()
    loop.keep_heap_small()  # before the log has a thread
    descriptors.raise_limit()
    threads.check_limit()
    with logs_configured(LogOptions(loaded.log.level, loaded.log.format)):
        file = config if config is not None else settings.find_file(os.environ)
        loop.run(serve(loaded, load, file=file.absolute() if file is not None else None))


async def serve(
    loaded: Settings, load: Load, stop: asyncio.Event | None = None, file: Path | None = None
) -> None:
    """Run everything, from opening the store to closing it.

    `load` reads the configuration again; `file` is where it is, None without one.
    """
    clock = SystemClock()
    stop = stop if stop is not None else asyncio.Event()
    at_once = asyncio.Event()
    holder = f"{socket.gethostname()}/{os.getpid()}/{os.urandom(8).hex()}"
    store = open_store(StoreOptions(loaded.store.url.get_secret_value(), holder), clock, follow=clock.follow)
    if abs(clock.ahead_of_wall_s()) > CLOCK_DIFFERENCE_S:
        log.warning("clock_differs", database_ahead_s=round(clock.ahead_of_wall_s(), 1), used="database")
    try:
        log.info(
            "started",
            version=__version__,
            config=str(file) if file is not None else None,
            store=str(loaded.store.url),
            receivers=[receiver.name for receiver in loaded.receivers],
        )
        _log_warnings(loaded)
        rng = random.Random()  # noqa: S311 - ids and jitter, seeded by the system; none of it is secret
        metrics = MetricsRegistry(receiver_names(loaded))
        world = World(_polls(loaded, clock))
        lasting = Lasting(world, store, clock, rng, metrics)
        app = App(lasting, loaded, load, stop)
        with signals_handled(stop, at_once, app.reload_soon):
            await app.run(at_once)
    finally:
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(RELEASE_WITHIN_S):
                await store.release_lease()
        await store.close()


def _log_warnings(loaded: Settings) -> None:
    for warning in settings.warnings(loaded):
        log.warning("configuration", warning=warning)


def _polls(loaded: Settings, clock: Clock) -> dict[str, PollState]:
    now = clock.now()
    return {
        REGIONS: PollState(REGIONS, loaded.polling.regions_s, known_since=now),
        INSTANCES: PollState(INSTANCES, loaded.polling.instances_s, known_since=now),
    }


class App:
    """The running daemon (`ports.Daemon`): one engine at a time, and what outlives it."""

    def __init__(self, lasting: Lasting, loaded: Settings, load: Load, stop: asyncio.Event) -> None:
        self._lasting = lasting
        self._shortlists = Shortlists()
        self._load = load
        self._stop = stop
        self._notifier = Notifier.from_environment()
        self._engine = Engine(lasting, loaded, self)
        self._cycle = Cycle(
            lasting.world, lasting.store, lasting.clock, lasting.metrics, self._engine.parts()
        )
        self._listening: Listening | None = None
        self._next: tuple[Engine, Listening] | None = None
        self._reloading = asyncio.Lock()
        self._reload_wanted = asyncio.Event()

    @property
    def world(self) -> World:
        return self._lasting.world

    def not_ready(self) -> str | None:
        if self._stop.is_set():
            return "stopping"
        polls = self.world.polls.values()
        if unauthorized(tuple(polls)) or self._engine.key_refused:
            return "CloudNexus refuses the API key"
        waiting = [p for p in polls if p.succeeded_at is None]
        if waiting:
            reasons = [f"{p.resource}: {p.failure_message or 'not read yet'}" for p in waiting]
            return "no first snapshot of " + "; ".join(reasons)
        return self._lasting.store.health.not_answering(STORE_PATIENCE_S, self._resumed_at)

    @property
    def _resumed_at(self) -> float:
        """Time at which this process last resumed after a suspension.

        Earlier silence is its own.
        """
        return self.world.activity.suspensions.resumed_at

    def not_healthy(self) -> str | None:
        """Return why `/-/healthy` is 503, or None.

        A follower writes little but tries for the lease: that counts for it.
        """
        interval_s = min(poll.interval_s for poll in self.world.polls.values())
        patience_s = max(STORE_PATIENCE_S, UNCOMMITTED_INTERVALS * interval_s)
        stalled = self._lasting.store.health.not_committing(patience_s, self._resumed_at)
        if stalled is not None and not self._stop.is_set():
            return stalled
        now = self._lasting.clock.now()
        uncommitted_s = now - max(self._cycle.uncommitted_since or now, self._resumed_at)
        if uncommitted_s > patience_s and not self._stop.is_set():
            return f"no snapshot could be committed for {uncommitted_s:.0f} s: see the log for the reason"
        for name, moved_at in self._engine.progress(self._cycle).items():
            progressed_at = max(moved_at, self._resumed_at)
            if now - progressed_at > STUCK_AFTER_S and not self._stop.is_set():
                return f"{name} has made no progress for {now - progressed_at:.0f}s"
        return None

    def eligibility(self) -> tuple[Considered, ...]:
        standing = Standing(self.world, self._engine.policy, self._shortlists)
        return standing.decide(ANYTHING, self._lasting.clock.now()).considered

    def replayed(self, receivers: Iterable[str]) -> None:
        self._engine.replayed(receivers)

    async def test_receivers(self, name: str | None) -> list[ReceiverTest]:
        return await self._engine.test_receivers(name)

    async def reload(self) -> None:
        """Read the configuration and build from it; it takes over once the present engine has stopped.

        Raises `ConfigError` for one that cannot be used, and then nothing has changed.
        """
        async with self._reloading:
            try:
                loaded, engine, listening = await self._prepared()
            except ConfigError as error:
                self._lasting.metrics.reloaded(successful=False)
                log.warning("reload_refused", error=str(error))
                raise
            _log_warnings(loaded)
            self._warn_of_restart(loaded)
            self._supersede(engine, listening)
            self._lasting.metrics.reloaded(successful=True)  # nothing that is left to do can fail

    async def _prepared(self) -> tuple[Settings, Engine, Listening]:
        """All that can fail of a reload. Raises `ConfigError`."""
        try:
            loaded = self._load()
            engine = Engine(self._lasting, loaded, self)
            return loaded, engine, await self._listen_for(engine)
        except ConfigError:
            raise
        except Exception as error:
            # A defect in reading what a person wrote must not end a daemon that works.
            log.exception("reload_failed")
            raise ConfigError(f"the configuration cannot be used: {type(error).__name__}: {error}") from error

    async def _listen_for(self, engine: Engine) -> Listening:
        """The sockets at hand when the address is the same. Raises `ConfigError`."""
        known = (self._listening, self._next[1] if self._next is not None else None)
        for listening in known:
            if listening is not None and listening.address == engine.listens_at:
                return listening
        try:
            return await listen(*engine.listens_at)
        except StartError as error:
            raise ConfigError(str(error)) from error

    def _supersede(self, engine: Engine, listening: Listening) -> None:
        """It is the next; one that was to be and has not begun will never be."""
        unused = self._next[1] if self._next is not None else None
        self._next = (engine, listening)
        if unused is not None and unused not in {listening, self._listening}:
            unused.close()
        self._engine.stop.set()

    async def _taken_over(self) -> None:
        """Until the new configuration is at work, or the daemon ends."""
        while self._next is not None and not self._stop.is_set():
            await _pause(self._stop, 0.05)

    def reload_soon(self) -> None:
        """SIGHUP."""
        self._reload_wanted.set()

    async def run(self, at_once: asyncio.Event) -> None:
        """Until told to stop. Raises what a part died of, and `StartError` when it cannot begin."""
        lasting = self._lasting
        await self._cycle.restore()
        self._listening = await listen(*self._engine.listens_at)
        await self._engine.start(self._cycle, self._listening)
        tasks = {
            "engine": self._run_engines(),
            "reloads": self._reloads(),
            "readiness": self._tell_ready(),
            "watchdog": feed_watchdog(self._notifier, self.not_healthy, self._started, self._stop),
            "loop lag": probe_lag(lasting.metrics, self._stop),
            "housekeeping": self._housekeep(),
            "store": until_stopped(lasting.store.health.wait_broken(), self._stop),
        }
        try:
            await run_until_stopped(tasks, self._stop, self._engine.shutdown_timeout_s + 5.0, at_once)
        finally:
            self._listening.close()
            self._notifier.stopping("stopped")
            self._notifier.close()

    async def _run_engines(self) -> None:
        """One engine after the other, each until it is stopped."""
        while True:
            async with asyncio.TaskGroup() as group:
                ender = group.create_task(self._stop_engine_with_daemon(), name="engine ender")
                await self._engine.run()
                ender.cancel()
            if self._next is None:
                return
            if self._stop.is_set():
                return
            before, ((self._engine, self._listening), self._next) = self._listening, (self._next, None)
            await self._engine.start(self._cycle, self._listening)
            if before is not None and before is not self._listening:
                before.close()
            log.info("configuration_reloaded")

    async def _stop_engine_with_daemon(self) -> None:
        await self._stop.wait()
        self._notifier.stopping("stopping")
        self._engine.stop.set()

    async def _reloads(self) -> None:
        while await _first(self._reload_wanted, self._stop):
            self._reload_wanted.clear()
            if self._started():
                self._notifier.reloading()
            with suppress(ConfigError):
                await self.reload()
                await self._taken_over()
            if self._started():
                self._notifier.ready(self._status())

    async def _tell_ready(self) -> None:
        """READY=1 after the first snapshots, then the state in one line now and then."""
        while not self._started() and not self._stop.is_set():
            await _pause(self._stop, 0.05)
        if not self._stop.is_set():
            self._notifier.ready(self._status())
            log.info("ready", url=self._engine.url)
            loop.freeze()
        while not self._stop.is_set():
            await _pause(self._stop, 10.0)
            self._notifier.status(self._status())

    def _started(self) -> bool:
        return all(p.succeeded_at is not None for p in self.world.polls.values())

    def _status(self) -> str:
        reason = self.not_ready()
        if reason is not None:
            return reason
        firing = self.world.alert_counts.firing
        regions = len(self.world.regions.listed)
        return f"{len(self.world.inventory)} instances, {regions} regions, {firing} alerts firing"

    async def _housekeep(self) -> None:
        """Forget what is older than it is kept, every hour."""
        while not self._stop.is_set():
            await _pause(self._stop, HOUSEKEEPING_EVERY_S)
            if not self._lasting.store.leading:
                continue
            try:
                while await self._lasting.store.run_leading(self._forget):
                    pass
            except (StoreUnavailableError, LeaseLostError) as error:
                log.warning("store_unavailable", waiting="housekeeping", error=str(error))

    def _forget(self, tx: Transaction) -> int:
        """A bounded number of rows; how many."""
        now = self._lasting.clock.now()
        before = now - self._engine.loaded.history.retention_s
        return (
            tx.events.forget(before)
            + tx.outbox.forget_ended(before)
            + tx.silences.forget(before)
            + tx.region_history.forget(forget_before(now, self._engine.loaded.history.retention_s))
            + tx.placements.forget_keys(now - IDEMPOTENCY_KEPT_S)
            + tx.placements.forget_closed(before)
        )

    def _warn_of_restart(self, loaded: Settings) -> None:
        """What a reload cannot change while it runs."""
        before = self._engine.loaded
        if loaded.store.url != before.store.url:
            log.warning("needs_a_restart", key="store.url")
        if loaded.log.format != before.log.format:
            log.warning("needs_a_restart", key="log.format")
        set_level(loaded.log.level)


async def _first(wanted: asyncio.Event, stop: asyncio.Event) -> bool:
    """Wait for either; whether it was `wanted`."""
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(wanted.wait()), group.create_task(stop.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
    return wanted.is_set() and not stop.is_set()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
