"""What waits to be placed, in the order in which it is, and what may still be sent (`ports.QueueTable`)."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from nexusd.core.lifecycle import Placement, State
from nexusd.core.pauses import NO_PAUSE, Pause
from nexusd.store.placements import RECORD, placement_of
from nexusd.store.schema import WITH_DEADLINE, budgets, meta, placements
from nexusd.store.statements import Session, Upsert, given

_t = placements.c
_QUEUED = _t.state == given("in_state", sa.Text)
_LIMIT = given("n", sa.Integer)
_IN_STATE = {"in_state": State.QUEUED.value}
CREATES = "creates"


def _next_class(after: sa.ColumnElement[str]) -> sa.ScalarSelect[str]:
    """The least class above another: one step in the queue's index, however many are queued."""
    return (
        sa.select(sa.func.min(_t.constraint_class))
        .where(_QUEUED, _t.constraint_class > after)
        .scalar_subquery()
    )


def _classes() -> sa.Select[tuple[str]]:
    first = sa.select(_next_class(given("after", sa.Text)).label("found")).cte("classes", recursive=True)
    each = first.union_all(sa.select(_next_class(first.c.found)).where(first.c.found.is_not(None)))
    return sa.select(each.c.found).where(each.c.found.is_not(None)).limit(_LIMIT)


CLASSES = _classes()
HEADS = (
    RECORD.where(_QUEUED, _t.constraint_class == given("of_class", sa.Text))
    .order_by(_t.priority.desc(), _t.created_at, _t.id)
    .limit(_LIMIT)
)
EXPIRED = (
    RECORD.where(_QUEUED, WITH_DEADLINE, _t.deadline <= given("now", sa.Double))
    .order_by(_t.deadline)
    .limit(_LIMIT)
)
_BUDGET = sa.select(budgets.c.tokens, budgets.c.at).where(budgets.c.name == given("which", sa.Text))
_SAVE_BUDGET = Upsert(budgets, ("name", "tokens", "at"), ("tokens", "at"))
_PAUSE_KEY = "create_pause"
_PAUSE = sa.select(meta.c.value).where(meta.c.key == _PAUSE_KEY)
_SAVE_PAUSE = Upsert(meta, ("key", "value"), ("value",))


class Queue:
    def __init__(self, session: Session) -> None:
        self._session = session

    def classes(self, after: str, limit: int) -> list[str]:
        """The constraint classes above `after` that anything is queued for, ascending."""
        return [row[0] for row in self._session.rows(CLASSES, {**_IN_STATE, "after": after, "n": limit})]

    def heads(self, constraint_class: str, limit: int) -> list[Placement]:
        """The first of a class: higher priority first, then older first."""
        values = {**_IN_STATE, "of_class": constraint_class, "n": limit}
        return [placement_of(row) for row in self._session.rows(HEADS, values)]

    def expired(self, now: float, limit: int) -> list[Placement]:
        """Queued ones whose deadline has come."""
        return [
            placement_of(row) for row in self._session.rows(EXPIRED, {**_IN_STATE, "now": now, "n": limit})
        ]

    def budget(self) -> tuple[float, float] | None:
        """Tokens and when; None before the first create."""
        row = self._session.first(_BUDGET, {"which": CREATES})
        return (row[0], row[1]) if row is not None else None

    def save_budget(self, tokens: float, at: float) -> None:
        self._session.execute(_SAVE_BUDGET, {"name": CREATES, "tokens": tokens, "at": at})

    def pause(self) -> Pause:
        """Reason for which the leader sends no creates now."""
        row = self._session.first(_PAUSE)
        return msgspec.json.decode(row[0], type=Pause) if row is not None else NO_PAUSE

    def save_pause(self, pause: Pause) -> None:
        self._session.execute(_SAVE_PAUSE, {"key": _PAUSE_KEY, "value": msgspec.json.encode(pause).decode()})
