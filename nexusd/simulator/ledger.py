"""What has truly been committed, in memory: every write to placements, taken note of as it is made and
believed at the commit. The checks look here, so that they need not read the store after every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from nexusd.core.lifecycle import CLOSED, Attempt, Placement, State
from nexusd.core.regions import RegionSnapshot
from nexusd.ports import Transaction
from nexusd.store.instances import Instances
from nexusd.store.placements import Placements
from nexusd.store.regions import Regions
from nexusd.store.statements import Session
from nexusd.store.transaction import SqlTransaction

T = TypeVar("T")


@dataclass(slots=True)
class Record:
    """A placement as committed, with its attempts in order."""

    placement: Placement
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def open(self) -> bool:
        return self.placement.state not in CLOSED


class Auditor(Protocol):
    """Told of each write once it is committed."""

    def accepted(self, record: Record) -> None: ...

    def moved(self, before: Placement, record: Record) -> None: ...

    def intended(self, record: Record) -> None:
        """A new attempt is on disk; it is the record's last."""
        ...

    def answered(self, record: Record, attempt: Attempt) -> None: ...

    def listed(self) -> None:
        """A complete listing of instances was taken in."""
        ...

    def regions_saved(self, snapshot: RegionSnapshot) -> None: ...


class Ledger:
    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.open_by_name: dict[str, Record] = {}
        self.auditor: Auditor | None = None
        self._pending: list[Callable[[], None]] = []
        self._observed: tuple[Transaction, SqlTransaction] | None = None

    def observed(self, transaction: Callable[[Transaction], T]) -> Callable[[Transaction], T]:
        """The same transaction, taken note of."""

        def run(tx: Transaction) -> T:
            try:
                return transaction(self._noting(tx))
            except BaseException:
                self._pending.clear()
                raise

        return run

    def note(self, entry: Callable[[], None]) -> None:
        """To be believed if the transaction commits."""
        self._pending.append(entry)

    def commit(self) -> None:
        pending, self._pending = self._pending, []
        for entry in pending:
            entry()

    def undo(self) -> None:
        self._pending.clear()

    def forget(self, placement_id: str) -> None:
        """A closed placement that nobody asks about any more."""
        self.records.pop(placement_id, None)

    def insert(self, placement: Placement) -> None:
        record = self.records[placement.id] = Record(placement)
        self.open_by_name[placement.request.name] = record
        if self.auditor is not None:
            self.auditor.accepted(record)

    def update(self, placement: Placement) -> None:
        record = self.records[placement.id]
        before, record.placement = record.placement, placement
        if not record.open and self.open_by_name.get(placement.request.name) is record:
            del self.open_by_name[placement.request.name]
        if self.auditor is not None:
            self.auditor.moved(before, record)

    def add_attempt(self, attempt: Attempt) -> None:
        record = self.records[attempt.placement_id]
        record.attempts.append(attempt)
        if self.auditor is not None:
            self.auditor.intended(record)

    def finish_attempt(self, attempt: Attempt) -> None:
        record = self.records[attempt.placement_id]
        record.attempts = [attempt if a.number == attempt.number else a for a in record.attempts]
        if self.auditor is not None:
            self.auditor.answered(record, attempt)

    def listed(self) -> None:
        if self.auditor is not None:
            self.auditor.listed()

    def regions_saved(self, snapshot: RegionSnapshot) -> None:
        if self.auditor is not None:
            self.auditor.regions_saved(snapshot)

    def _noting(self, tx: Transaction) -> SqlTransaction:
        """The tables over the same session, made once a session."""
        if self._observed is None or self._observed[0] is not tx:
            if not isinstance(tx, SqlTransaction):
                raise TypeError("the simulator runs on the SQL store")
            self._observed = (tx, _NotingTransaction(tx.session, self))
        return self._observed[1]


class _NotingTransaction(SqlTransaction):
    def __init__(self, session: Session, ledger: Ledger) -> None:
        super().__init__(session)
        self.placements = _NotingPlacements(session, ledger)
        self.instances = _NotingInstances(session, ledger)
        self.regions = _NotingRegions(session, ledger)


class _NotingPlacements(Placements):
    def __init__(self, session: Session, ledger: Ledger) -> None:
        super().__init__(session)
        self._ledger = ledger

    def insert(self, placement: Placement) -> None:
        super().insert(placement)
        self._ledger.note(lambda: self._ledger.insert(placement))

    def update(self, placement: Placement, expected: State) -> bool:
        updated = super().update(placement, expected)
        if updated:
            self._ledger.note(lambda: self._ledger.update(placement))
        return updated

    def add_attempt(self, attempt: Attempt) -> None:
        super().add_attempt(attempt)
        self._ledger.note(lambda: self._ledger.add_attempt(attempt))

    def finish_attempt(self, attempt: Attempt) -> None:
        super().finish_attempt(attempt)
        self._ledger.note(lambda: self._ledger.finish_attempt(attempt))


class _NotingInstances(Instances):
    def __init__(self, session: Session, ledger: Ledger) -> None:
        super().__init__(session)
        self._ledger = ledger

    def observed(self, at: float) -> None:
        super().observed(at)
        self._ledger.note(self._ledger.listed)


class _NotingRegions(Regions):
    def __init__(self, session: Session, ledger: Ledger) -> None:
        super().__init__(session)
        self._ledger = ledger

    def save(self, snapshot: RegionSnapshot) -> None:
        super().save(snapshot)
        self._ledger.note(lambda: self._ledger.regions_saved(snapshot))
