"""One receiver's worker: leases its messages, sends them, records what became of them. Owned by `engine`.

Each pass is one transaction that writes the results so far and leases more, while sends go on beside it. A
message is marked only after it was sent, so a crash in between sends it again, with the same id.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from random import Random

import structlog

from nexusd.core.errors import StoreUnavailableError
from nexusd.delivery.order import GroupOrder, Turn
from nexusd.delivery.retries import after_try
from nexusd.ports import Clock, Delivery, Metrics, OutboxMessage, Receiver, Store, Transaction

log = structlog.get_logger(__name__)

STORE_RETRY_S = 1.0
SHORTEST_SLEEP_S = 0.02
LONGEST_SLEEP_S = 30.0
REMEMBERED_FAILURES = 1000
"""Messages that failed before, looked at when the worker starts: others may have to wait for them."""

DISABLED = Delivery(
    "gone", "410", "the receiver said that it is gone for good; it is disabled until a reload"
)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """`concurrency`: requests at once. `in_hand`: messages leased at once. `lease_s`: must be longer than
    the time that all in hand can take.
    """

    concurrency: int = 32
    in_hand: int = 128
    lease_s: float = 120.0

    @classmethod
    def within(cls, timeout_s: float, concurrency: int = 32) -> WorkerOptions:
        """For a receiver of which one request may take `timeout_s`."""
        rounds = 4
        return cls(concurrency, rounds * concurrency, max(60.0, (rounds + 2) * timeout_s))


DEFAULT_OPTIONS = WorkerOptions()


@dataclass(frozen=True, slots=True)
class _Result:
    row: OutboxMessage
    delivery: Delivery | None


class DeliveryWorker:
    """Runs while this process leads. One receiver's trouble is its own."""

    def __init__(
        self,
        receiver: Receiver,
        store: Store,
        clock: Clock,
        rng: Random,
        metrics: Metrics,
        options: WorkerOptions = DEFAULT_OPTIONS,
    ) -> None:
        self._receiver = receiver
        self._store = store
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._options = options
        self._wake = asyncio.Event()
        self._order = GroupOrder()
        self._slots = asyncio.Semaphore(self._options.concurrency)
        self._stop = asyncio.Event()
        self._in_hand: set[str] = set()
        self._results: list[_Result] = []
        self._resume_at = 0.0
        self._disabled = False
        self._recorded = 0
        self.progressed_at = clock.now()

    @property
    def name(self) -> str:
        return self._receiver.name

    @property
    def disabled(self) -> bool:
        """Whether the receiver answered 410: its messages are dead without a try, until a reload."""
        return self._disabled

    @property
    def recorded(self) -> int:
        """How many results it has written to the outbox so far."""
        return self._recorded

    def wake(self) -> None:
        """Look at the outbox soon: messages were added or replayed."""
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then what is under way is finished and recorded. Raises `LeaseLostError`."""
        self._stop = stop
        self._in_hand.clear()
        self._results.clear()
        try:
            async with asyncio.TaskGroup() as group:
                stopping = group.create_task(self._wake_at(stop), name=f"delivery to {self.name}: stop")
                await self._remember_failures()
                while not stop.is_set() or self._in_hand or self._results:
                    await self._pass(group)
                stopping.cancel()
        finally:
            await self._receiver.close()

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _remember_failures(self) -> None:
        def transaction(tx: Transaction) -> list[OutboxMessage]:
            return tx.outbox.failed(self.name, REMEMBERED_FAILURES)

        while not self._stop.is_set():
            try:
                self._order.restore(await self._store.run(transaction))
            except StoreUnavailableError as error:
                await self._store_failed(error)
            else:
                return

    async def _pass(self, group: asyncio.TaskGroup) -> None:
        """Record, lease, begin to send; then sleep until there is something to do."""
        self._wake.clear()
        results, self._results = self._results, []
        now = self._clock.now()
        room = 0 if self._holds_back(now) else self._options.in_hand - len(self._in_hand)
        try:
            leased, due = await self._exchange(results, room, now)
        except StoreUnavailableError as error:
            self._results = results + self._results
            await self._store_failed(error)
            return
        self._recorded += len(results)
        self._tell(results)
        for message in leased:
            self._begin(group, message)
        self.progressed_at = self._clock.now()
        await self._sleep(self._until(due, room - len(leased)))

    def _holds_back(self, now: float) -> bool:
        """Whether nothing is sent now: at the stop, or as long as a `Retry-After` asked."""
        return self._stop.is_set() or now < self._resume_at

    def _until(self, due: float | None, room: int) -> float | None:
        """When to make the next pass if nothing wakes it; None: nothing but results can be of interest."""
        if self._clock.now() < self._resume_at:
            return self._resume_at
        return due if room > 0 else None

    async def _exchange(
        self, results: list[_Result], room: int, now: float
    ) -> tuple[list[OutboxMessage], float | None]:
        def transaction(tx: Transaction) -> tuple[list[OutboxMessage], float | None]:
            for result in results:
                tx.outbox.finish(result.row)
            leased = tx.outbox.lease(self.name, now, self._options.lease_s, room) if room > 0 else []
            return leased, tx.outbox.next_due(self.name)

        return await self._store.run_leading(transaction)

    async def _store_failed(self, error: StoreUnavailableError) -> None:
        log.warning("store_unavailable", waiting=f"delivery to {self.name}", error=str(error))
        await asyncio.sleep(STORE_RETRY_S)

    def _begin(self, group: asyncio.TaskGroup, message: OutboxMessage) -> None:
        if message.id in self._in_hand:
            return  # its lease ran out in here, which is no reason to send it twice
        self._in_hand.add(message.id)
        turn = self._order.enter(message)
        group.create_task(self._deliver(turn), name=f"delivery to {self.name}: {message.id}")

    async def _deliver(self, turn: Turn) -> None:
        """One message's turn: sent, or given back to the outbox when it is not its time."""
        row = await turn.postponed(self._clock.now)
        delivery = None
        if row is None:
            async with self._slots:
                delivery = await self._send(turn.message)
            if delivery is None:
                row = replace(turn.message, leased_until=None)
            else:
                row = after_try(turn.message, delivery, self._clock.now(), self._rng)
        self._order.left(turn, row)
        self._in_hand.discard(row.id)
        self._results.append(_Result(row, delivery))
        self._wake.set()

    async def _send(self, message: OutboxMessage) -> Delivery | None:
        """None: it was not tried, because nothing is sent now."""
        if self._disabled:
            return DISABLED
        if self._holds_back(self._clock.now()):
            return None
        try:
            delivery = await self._receiver.send(message)
        except Exception:
            # A defect in one kind of receiver must not stop the daemon: the message is tried again.
            log.exception("receiver_failed", receiver=self.name, message=message.id)
            delivery = Delivery("retry", "error", "the receiver's code failed")
        self._metrics.notification_request(self.name, delivery.code)
        self._heed(delivery)
        return delivery

    def _heed(self, delivery: Delivery) -> None:
        """What an answer says about the receiver as a whole."""
        if delivery.outcome == "gone" and not self._disabled:
            self._disabled = True
            log.error("receiver_disabled", receiver=self.name, reason=delivery.detail)
        if delivery.retry_after_s is not None:
            self._resume_at = max(self._resume_at, self._clock.now() + delivery.retry_after_s)

    def _tell(self, results: list[_Result]) -> None:
        """Count and log what is now on record."""
        for row, delivery in ((r.row, r.delivery) for r in results):
            if row.state == "sent":
                self._metrics.notification(self.name, None, max(0.0, (row.ended_at or 0.0) - row.created_at))
            elif row.state == "dead" and delivery is not None:
                reason = "expired" if delivery.outcome == "retry" else delivery.outcome
                self._metrics.notification(self.name, reason, None)
                log.error(
                    "notification_dead",
                    receiver=self.name,
                    message=row.id,
                    reason=reason,
                    error=row.last_error,
                    tries=row.tries,
                )
            elif delivery is not None:
                log.warning(
                    "notification_failed",
                    receiver=self.name,
                    message=row.id,
                    error=row.last_error,
                    tries=row.tries,
                    retry_in_s=round(row.next_try_at - self._clock.now(), 1),
                )

    async def _sleep(self, until: float | None) -> None:
        """Until woken, at most until an instant; None: the next result or message wakes it."""
        if self._stop.is_set() and not self._in_hand:
            return
        wait_s = LONGEST_SLEEP_S
        if until is not None:
            wait_s = min(max(until - self._clock.now(), SHORTEST_SLEEP_S), LONGEST_SLEEP_S)
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return
