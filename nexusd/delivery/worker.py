"""One receiver's worker: has its messages leased, sends them, records what became of them. Owned by `engine`.

A message is leased before it is sent: by the commit that writes it, which then hands it over (`claim`,
`take`), or by a pass of the worker. Each pass is one transaction that writes the results so far and leases
more, while sends go on beside it. A message is marked only after it was sent, so a crash in between sends it
again, with the same id.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random

import structlog

from nexusd.core.errors import StoreUnavailableError
from nexusd.delivery.hand import NOBODY_KNOWS, Hand, Lookout
from nexusd.delivery.order import GroupOrder, Turn, Waiting
from nexusd.delivery.retries import after_try
from nexusd.ports import Clock, Delivery, Metrics, OutboxMessage, Receiver, Store, Transaction

log = structlog.get_logger(__name__)

STORE_RETRY_S = 1.0
SHORTEST_SLEEP_S = 0.02
LONGEST_SLEEP_S = 30.0
REMEMBERED_FAILURES = 1000
"""Messages that failed before, looked at when the worker starts: others may have to wait for them."""
RECORDED_TOGETHER = 256
RECORDED_WITHIN_S = 0.05
"""While more is in hand, so many results, or all within that time, are recorded in one commit."""
MAX_DELIVERED_LINES = 5
"""Log lines about deliveries that are recorded in one commit; of more only their number is logged."""
PENDING, DELIVERED = "pending", "delivered"

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
    """`row` as it is to be written, None when it was delivered at `at`. `delivery` None: it was not tried."""

    message: OutboxMessage
    delivery: Delivery | None
    row: OutboxMessage | None
    at: float

    @property
    def latency_s(self) -> float:
        """Seconds from the message's creation until it was delivered."""
        return max(0.0, self.at - self.message.created_at)

    @property
    def plain(self) -> bool:
        """Delivered at the first try, or not tried at all."""
        return self.delivery is None or (self.row is None and self.message.tries == 0)


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
        self._hand = Hand()
        self._outbox = Lookout()
        self._order = GroupOrder()
        self._ready: deque[Turn] = deque()
        self._lanes = 0
        self._group: asyncio.TaskGroup | None = None
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        self._results: list[_Result] = []
        self._recording: asyncio.TimerHandle | None = None
        self._resume_at = 0.0
        self._disabled = False
        self._troubles = 0
        self.progressed_at = clock.now()

    @property
    def name(self) -> str:
        return self._receiver.name

    @property
    def disabled(self) -> bool:
        """Whether the receiver answered 410: its messages are dead without a try, until a reload."""
        return self._disabled

    @property
    def troubles(self) -> int:
        """How many results it has written so far that were not plainly a delivery at the first try."""
        return self._troubles

    def wake(self) -> None:
        """Look at the outbox soon: messages were added or replayed."""
        self._outbox.may_have(NOBODY_KNOWS)
        self._wake.set()

    def claim(self, size: int, now: float) -> float | None:
        """Until when a message with so large a body that is written now is to be leased to this worker; it is
        to be given it (`take`) after the commit. None: it is to wait in the outbox.

        Nothing is claimed while older messages may wait there: those of its group come first.
        """
        waiting = not self._outbox.has_nothing or self._outbox.looks(now)
        if self._group is None or self._holds_back(now) or waiting:
            return None
        if not self._hand.claim(size):
            self._outbox.may_have(now)
            return None
        return now + self._options.lease_s

    def take(self, messages: Iterable[OutboxMessage]) -> None:
        """Messages that were claimed and are committed now. What comes when it does not run is left to who
        runs next.
        """
        if self._group is None:
            return
        for message in messages:
            self._hand.claimed(len(message.body))
            if self._outbox.may_have_older(message):
                self._give_back(message)
            else:
                self._begin(message)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then what is under way is finished and recorded. Raises `LeaseLostError`."""
        self._stop = stop
        self._hand, self._outbox, self._lanes = Hand(), Lookout(), 0
        self._ready.clear()
        self._results.clear()
        try:
            async with asyncio.TaskGroup() as group:
                stopping = group.create_task(self._wake_at(stop), name=f"delivery to {self.name}: stop")
                await self._remember_failures()
                self._group = group
                while not stop.is_set() or self._hand or self._results:
                    await self._pass()
                self._group = None
                stopping.cancel()
        finally:
            self._group = None
            await self._receiver.close()

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _remember_failures(self) -> None:
        def transaction(tx: Transaction) -> list[Waiting]:
            return [Waiting.of(message) for message in tx.outbox.failed(self.name, REMEMBERED_FAILURES)]

        while not self._stop.is_set():
            try:
                self._order.restore(await self._store.run(transaction))
            except StoreUnavailableError as error:
                await self._store_failed(error)
            else:
                return

    async def _pass(self) -> None:
        """Record, lease, begin to send; then sleep until there is something to do."""
        self._wake.clear()
        if self._recording is not None:
            self._recording.cancel()
            self._recording = None
        results, self._results = self._results, []
        now = self._clock.now()
        room = self._room() if self._outbox.looks(now) and not self._holds_back(now) else 0
        try:
            leased = await self._exchange(results, room, now) if results or room > 0 else []
        except StoreUnavailableError as error:
            self._results = results + self._results
            self.wake()
            await self._store_failed(error)
            return
        self._tell(results)
        for message in leased:
            self._begin(message)
        self.progressed_at = self._clock.now()
        await self._sleep(self._until())

    def _holds_back(self, now: float) -> bool:
        """Whether nothing is sent now: at the stop, or as long as a `Retry-After` asked."""
        return self._stop.is_set() or now < self._resume_at

    def _room(self) -> int:
        return max(0, self._options.in_hand - len(self._hand)) if self._hand.bytes_left else 0

    def _until(self) -> float | None:
        """When to make the next pass if nothing wakes it; None: nothing but results can be of interest."""
        if self._clock.now() < self._resume_at:
            return self._resume_at
        return self._outbox.look_at if self._room() > 0 else None

    async def _exchange(self, results: list[_Result], room: int, now: float) -> list[OutboxMessage]:
        delivered = [(r.message.id, r.at) for r in results if r.row is None]
        others = [r.row for r in results if r.row is not None]

        def transaction(tx: Transaction) -> tuple[list[OutboxMessage], float | None]:
            tx.outbox.delivered(delivered)
            tx.outbox.finish(others)
            if room <= 0:
                return [], None
            leased = tx.outbox.lease(self.name, now, self._options.lease_s, room, self._hand.bytes_left)
            return leased, tx.outbox.next_due(self.name)

        self._outbox.begin()
        leased, due = await self._store.run_leading(transaction)
        for row in others:
            if row.state == PENDING:
                self._outbox.due(row.next_try_at)
        if room > 0:
            more = due is not None and due <= now
            self._outbox.read(due, now, full=more or len(leased) == room)
        return leased

    async def _store_failed(self, error: StoreUnavailableError) -> None:
        """To have asked is progress: it is the store that hangs, if anything does."""
        self.progressed_at = self._clock.now()
        log.warning("store_unavailable", waiting=f"delivery to {self.name}", error=str(error))
        await asyncio.sleep(STORE_RETRY_S)

    def _begin(self, message: OutboxMessage) -> None:
        if message.id in self._hand:
            return  # its lease ran out in here, which is no reason to send it twice
        self._hand.add(message)
        turn = self._order.enter(message)
        if turn is not None:
            self._line_up(turn)

    def _line_up(self, turn: Turn) -> None:
        """Its turn has come; as many are sent at once as there are lanes."""
        self._ready.append(turn)
        if self._group is not None and self._lanes < self._options.concurrency:
            self._lanes += 1
            self._group.create_task(self._lane(), name=f"delivery to {self.name}: lane")

    async def _lane(self) -> None:
        """One request after the other, as long as any is to be made."""
        try:
            while self._ready:
                await self._deliver(self._ready.popleft())
        finally:
            self._lanes -= 1

    async def _deliver(self, turn: Turn) -> None:
        """One message's turn: sent, or given back to the outbox when it is not its time."""
        message, delivery = turn.message, None
        row = self._order.postponed(turn, self._clock.now())
        if row is None:
            delivery = await self._send(message)
            if delivery is None:
                row = self._returned(message)
            elif delivery.outcome != DELIVERED:
                row = after_try(message, delivery, self._clock.now(), self._rng)
        if delivery is None or delivery is DISABLED:
            await asyncio.sleep(0)  # so quick that a lane would let nobody else in
        following = self._order.left(turn, row if row is not None and row.state == PENDING else None)
        if following is not None:
            self._line_up(following)
        self._hand.drop(message)
        self._ended(_Result(message, delivery, row, self._clock.now()))

    def _returned(self, message: OutboxMessage) -> OutboxMessage:
        """The row of one that waits in the outbox again, untried."""
        self._outbox.may_have(message.created_at)
        return replace(message, leased_until=None)

    def _give_back(self, message: OutboxMessage) -> None:
        self._results.append(_Result(message, None, self._returned(message), self._clock.now()))
        self._wake.set()

    def _ended(self, result: _Result) -> None:
        """While more is in hand, its record waits a little for those of others."""
        self._results.append(result)
        if not self._hand or len(self._results) >= RECORDED_TOGETHER:
            self._wake.set()
        elif self._recording is None:
            loop = asyncio.get_running_loop()
            self._recording = loop.call_later(RECORDED_WITHIN_S, self._wake.set)

    async def _send(self, message: OutboxMessage) -> Delivery | None:
        """None: it was not tried, because nothing is sent now."""
        if self._disabled:
            return DISABLED
        if self._holds_back(self._clock.now()) or not self._store.leading:
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
        self._log_delivered([result for result in results if result.row is None])
        for result in results:
            self._troubles += not result.plain
            if result.row is None:
                self._metrics.notification(self.name, None, result.latency_s)
            elif result.delivery is not None:
                self._complain(result.row, result.delivery)

    def _log_delivered(self, delivered: list[_Result]) -> None:
        """Log a line for each message, or one for all where many were recorded together."""
        if len(delivered) > MAX_DELIVERED_LINES:
            log.info("notifications_delivered", receiver=self.name, messages=len(delivered))
            return
        for result in delivered:
            message = result.message
            log.info(
                "notification_delivered",
                receiver=self.name,
                message=message.id,
                tries=message.tries + 1,
                latency_s=round(result.latency_s, 3),
            )

    def _complain(self, row: OutboxMessage, delivery: Delivery) -> None:
        told = {"receiver": self.name, "message": row.id, "error": row.last_error, "tries": row.tries}
        if row.state == PENDING:
            retry_in_s = round(row.next_try_at - self._clock.now(), 1)
            log.warning("notification_failed", **told, retry_in_s=retry_in_s)
            return
        reason = "expired" if delivery.outcome == "retry" else delivery.outcome
        self._metrics.notification(self.name, reason, None)
        log.error("notification_dead", **told, reason=reason)

    async def _sleep(self, until: float | None) -> None:
        """Until woken, at most until an instant; None: the next result or message wakes it."""
        if self._stop.is_set() and not self._hand:
            return
        wait_s = LONGEST_SLEEP_S
        if until is not None:
            wait_s = min(max(until - self._clock.now(), SHORTEST_SLEEP_S), LONGEST_SLEEP_S)
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return
