"""Who leads: a lease with a fencing epoch (I4).

On PostgreSQL it is a row that expires by the server's clock; every write of a leader locks that row, by
holder and epoch, in its own transaction, so a leader that was stopped and comes back writes nothing. On
SQLite the file lock is the lease; the row keeps the epoch, which grows at every start, so that what an
earlier process began can be told apart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from nexusd.ports import MAX_SLEW, Clock
from nexusd.store.schema import leases
from nexusd.store.statements import Row, Session, Statement, Values, given
from nexusd.store.transaction import SqlTransaction

T = TypeVar("T")
R = TypeVar("R")
Follow = Callable[[Callable[[], float]], None]
"""`SystemClock.follow`: measures the clock that a function reads."""

NAME = "leader"


@dataclass(frozen=True, eq=False, slots=True)
class LeaseStatements:
    """Statements of the lease.

    `acquire` gives the epoch, or no row while another holds it; `fence` and `renew` give a row when held.

    `evict`: ends the session of a holder whose time is over and who is stuck in a transaction.
    `expires`: whether the lease ends unless it is renewed. `clock`: reads the server's time.
    """

    acquire: Statement
    renew: Statement
    fence: Statement
    release: Statement
    evict: Statement | None
    expires: bool
    clock: Statement | None = None


class Run(Protocol):
    def __call__(self, work: Callable[[SqlTransaction], T], /) -> Awaitable[T]:
        """Run a transaction that may change who leads."""
        ...


class Lease:
    """This process's part in the lease. `holder` must be no other process's, not even a predecessor's."""

    def __init__(
        self,
        statements: LeaseStatements,
        holder: str,
        ttl_s: float,
        clock: Clock,
        follow: Follow | None = None,
    ) -> None:
        self._statements = statements
        self._holder = holder
        self._ttl_s = ttl_s
        self._clock = clock
        self._follow = follow
        self._held = False
        self._until = -inf
        self.epoch = 0

    @property
    def leading(self) -> bool:
        """Whether the lease was held when last asked and has not run out since by this process's clock."""
        return self._held and self._clock.now() < self._until

    async def acquire(self, run: Run) -> bool:
        """Take the lease if it is free; True while it is held. Raises `StoreUnavailableError`."""
        asked_at = self._clock.now()
        epoch = await run(lambda tx: self._measured(tx.session, self.taken))
        self._note(epoch, asked_at)
        return epoch is not None

    async def renew(self, run: Run) -> bool:
        """Extend it; False when it is lost for good, and then only `acquire` helps.

        Raises `StoreUnavailableError` when that cannot be known; the lease then runs out by itself.
        """
        asked_at = self._clock.now()
        held = await run(lambda tx: self._measured(tx.session, self._renewed))
        self._note(self.epoch if held is not None else None, asked_at)
        return self._held

    async def release(self, run: Run) -> None:
        """Give it up, so that another need not wait for its end."""
        self._held = False
        await run(lambda tx: tx.session.execute(self._statements.release, self._values(self.epoch)))

    def follow_clock(self, session: Session) -> None:
        """Measure the database's clock, where stored instants are measured by it."""
        statement = self._statements.clock
        if self._follow is not None and statement is not None:
            self._follow(lambda: session.rows(statement, {})[0][0])

    def _measured(self, session: Session, work: Callable[[Session], R]) -> R:
        self.follow_clock(session)
        return work(session)

    def _renewed(self, session: Session) -> Row | None:
        return session.first(self._statements.renew, self._values(self.epoch))

    def taken(self, session: Session) -> int | None:
        """Inside a transaction: the epoch in which this process now holds the lease, if it does."""
        if self._held:
            row = session.first(self._statements.renew, self._values(self.epoch))
            if row is not None:
                return self.epoch
        if self._statements.evict is not None:
            session.rows(self._statements.evict, self._values(self.epoch))
        row = session.first(self._statements.acquire, self._values(self.epoch))
        return row[0] if row is not None else None

    def take_at_start(self, session: Session) -> None:
        """Take it where nobody else can have it: one SQLite file, one daemon."""
        asked_at = self._clock.now()
        session.begin()
        epoch = self.taken(session)
        session.commit()
        self._note(epoch, asked_at)

    def fence(self, session: Session, epoch: int) -> bool:
        """Inside a leader's transaction: whether the lease is this process's, in that term, until it ends."""
        if session.first(self._statements.fence, self._values(epoch)) is not None:
            return True
        if epoch == self.epoch:
            self._held = False
        return False

    def _note(self, epoch: int | None, asked_at: float) -> None:
        self._held = epoch is not None
        if epoch is None:
            return
        self.epoch = epoch
        # This process must stop before another can begin: counted from before the request, by a slow clock.
        self._until = asked_at + self._ttl_s * (1 - MAX_SLEW) if self._statements.expires else inf

    def _values(self, epoch: int) -> Values:
        return {"lease": NAME, "me": self._holder, "mine": epoch, "ttl": self._ttl_s}


_LEASE = given("lease", sa.Text)
_ME = given("me", sa.Text)
_MINE = sa.and_(
    leases.c.name == _LEASE, leases.c.holder == _ME, leases.c.epoch == given("mine", sa.BigInteger)
)


def postgres_lease(idle_s: float) -> LeaseStatements:
    """`idle_s`: how long a transaction of an expired holder may last before its session is ended.

    The server ends a transaction that idles; but not one whose client was stopped half-way through sending,
    and the row it locked would keep every successor out.
    """
    backend = sa.func.pg_backend_pid()
    now = sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)
    expires_at = now + given("ttl", sa.Double)
    free = sa.or_(leases.c.expires_at.is_(None), leases.c.expires_at <= now)
    term = sa.case((sa.or_(free, leases.c.holder != _ME), leases.c.epoch + 1), else_=leases.c.epoch)
    acquire = (
        postgresql.insert(leases)
        .values(name=_LEASE, holder=_ME, epoch=1, expires_at=expires_at, backend=backend)
        .on_conflict_do_update(
            index_elements=[leases.c.name],
            set_={"holder": _ME, "epoch": term, "expires_at": expires_at, "backend": backend},
            where=sa.or_(free, leases.c.holder == _ME),
        )
        .returning(leases.c.epoch)
    )
    held = sa.update(leases).where(_MINE, leases.c.expires_at > now)
    return LeaseStatements(
        acquire=acquire,
        renew=held.values(expires_at=expires_at, backend=backend).returning(leases.c.epoch),
        fence=held.values(epoch=leases.c.epoch).returning(leases.c.epoch),
        release=sa.update(leases).where(_MINE).values(expires_at=sa.null()),
        evict=_evict(now, idle_s),
        expires=True,
        clock=sa.select(now),
    )


def sqlite_lease() -> LeaseStatements:
    acquire = (
        sqlite.insert(leases)
        .values(name=_LEASE, holder=_ME, epoch=1)
        .on_conflict_do_update(
            index_elements=[leases.c.name], set_={"holder": _ME, "epoch": leases.c.epoch + 1}
        )
        .returning(leases.c.epoch)
    )
    held: Any = sa.select(leases.c.epoch).where(_MINE)
    release = sa.update(leases).where(_MINE).values(holder="")
    return LeaseStatements(
        acquire=acquire, renew=held, fence=held, release=release, evict=None, expires=False
    )


def _evict(now: sa.ColumnElement[float], idle_s: float) -> Statement:
    """Of a session of one's own role only, which needs no privilege and ends nothing of anybody else's."""
    activity = sa.table(
        "pg_stat_activity",
        sa.column("pid", sa.Integer),
        sa.column("usename", sa.Text),
        sa.column("application_name", sa.Text),
        sa.column("xact_start", sa.DateTime(timezone=True)),
    )
    began = sa.cast(sa.extract("epoch", activity.c.xact_start), sa.Double)
    return (
        sa.select(sa.func.pg_terminate_backend(activity.c.pid))
        .join_from(leases, activity, activity.c.pid == leases.c.backend)
        .where(
            leases.c.name == _LEASE,
            leases.c.expires_at <= now,
            activity.c.usename == sa.func.current_user(),
            activity.c.application_name == "nexusd",
            activity.c.pid != sa.func.pg_backend_pid(),
            began <= now - idle_s,
        )
    )
