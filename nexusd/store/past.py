"""What was placed, with the decisions that placed it, to be replayed. Read by `nexusd replay` alone."""

from __future__ import annotations

import sqlalchemy as sa

from nexusd.core.replay import Past, recall
from nexusd.store.placements import RECORD, decision_of, placement_of
from nexusd.store.schema import decisions, placements
from nexusd.store.statements import Session, given

_d = decisions.alias("d")
_LAST_CHOSEN = (
    sa.select(sa.func.max(_d.c.id))
    .where(_d.c.placement_id == placements.c.id, _d.c.region.is_not(None))
    .scalar_subquery()
)
_AT = sa.func.coalesce(decisions.c.decided_at, placements.c.created_at)
_PAST = (
    RECORD.add_columns(decisions)
    .select_from(placements.outerjoin(decisions, decisions.c.id == _LAST_CHOSEN))
    .where(
        placements.c.created_at <= given("before", sa.Double),
        given("since", sa.Double) <= _AT,
        given("before", sa.Double) >= _AT,
    )
    .order_by(_AT.desc(), placements.c.id.desc())
    .limit(given("n", sa.Integer))
)
_WIDTH = len(RECORD.selected_columns)


def placed_between(session: Session, since: float, until: float, limit: int) -> list[Past]:
    """The newest `limit` of what was decided, or taken in and never decided, in that time; oldest first."""
    rows = session.rows(_PAST, {"since": since, "before": until, "n": limit})
    return [
        recall(placement_of(row[:_WIDTH]), decision_of(row[_WIDTH:]) if row[_WIDTH] is not None else None)
        for row in reversed(rows)
    ]
