"""The tables, as the newest migration leaves them. Read by the queries and by the migrations' tests.

Instants are double precision seconds since the epoch (`ports.Clock.now`). JSON is text written by msgspec, so
that both databases hold the same characters.
"""

from __future__ import annotations

import sqlalchemy as sa

from nexusd.core import cooling, retry_after
from nexusd.core.lifecycle import CLOSED, OPEN

INSTANT = "ahead_s"
"""Key in `Column.info` of every instant."""

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = sa.MetaData(naming_convention=_NAMES)

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""SQLite gives rowids only to a column declared INTEGER."""

OPEN_STATES = sa.text("state IN ({})".format(", ".join(f"'{state}'" for state in sorted(OPEN))))
CLOSED_STATES = sa.text("state IN ({})".format(", ".join(f"'{state}'" for state in sorted(CLOSED))))
TRIED_STATES = sa.text("state IN ('failed', 'running')")
WITH_DEADLINE = sa.text("deadline IS NOT NULL")
IN_A_GROUP = sa.text("spread_group IS NOT NULL")
IS_MEMBER = sa.text("member_of IS NOT NULL")
OF_FLEET = sa.text("fleet IS NOT NULL")
"""Literal, because a partial index serves only a query that repeats its condition word for word."""


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=null)


PAST = 0.0
"""`ahead_s` of when something happened."""
UNBOUNDED = None
"""`ahead_s` of an instant that a user chose, that nothing waits for, or that another clock measured."""


def _instant(name: str, *, ahead_s: float | None, null: bool = False) -> sa.Column[float]:
    """Declare a column of an instant.

    `ahead_s`: how far ahead of now it may be.

    A new leader moves instants that are further ahead (`instants`).
    """
    return sa.Column(name, sa.Double, nullable=null, info={INSTANT: ahead_s})


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0"))


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True)


instances = sa.Table(
    "instances",
    metadata,
    _key("id"),
    _text("name"),
    _text("status"),
    _text("region"),
    _text("public_ip", null=True),
    _text("created_at", null=True),
    _text("specs", null=True),
    _text("plan", null=True),
    _text("image", null=True),
    _count("missed"),
    _flag("seen_running"),
)

marks = sa.Table(
    "marks",
    metadata,
    _key("resource"),
    _instant("observed_at", ahead_s=PAST),
    comment="when the stored snapshot of regions or instances was observed",
)

regions = sa.Table(
    "regions",
    metadata,
    _key("slug"),
    _text("name"),
    _text("status"),
    sa.Column("latency_ms", sa.Double),
    sa.Column("smoothed_ms", sa.Double),
    _flag("capacity"),
    _instant("left_at", ahead_s=PAST, null=True),
)

region_history = sa.Table(
    "region_history",
    metadata,
    sa.Column("id", SERIAL, primary_key=True),
    _instant("at", ahead_s=PAST),
    _instant("until", ahead_s=PAST),
    sa.Column("answer", sa.LargeBinary, nullable=False),
    sa.Index("ix_region_history_until", "until", "id"),
    comment="what /regions answered from at until until, as compressed JSON",
)

coolings = sa.Table(
    "coolings",
    metadata,
    _key("region"),
    _key("plan"),
    _instant("until", ahead_s=cooling.LONGEST_WAIT_S),
    _count("step"),
    _text("reason"),
    _count("allowed"),
    comment="region or plan empty: every one",
)

budgets = sa.Table(
    "budgets",
    metadata,
    _key("name"),
    sa.Column("tokens", sa.Double, nullable=False),
    _instant("at", ahead_s=PAST),
    comment="what is left of the creates that may be sent",
)

placements = sa.Table(
    "placements",
    metadata,
    _key("id"),
    _text("name"),
    _text("state"),
    sa.Column("priority", sa.BigInteger, nullable=False),
    _instant("created_at", ahead_s=PAST),
    _instant("updated_at", ahead_s=PAST),
    _text("region", null=True),
    _text("instance_id", null=True),
    _text("reason", null=True),
    _count("attempts"),
    _instant("provisioning_at", ahead_s=PAST, null=True),
    _instant("deadline", ahead_s=UNBOUNDED, null=True),
    _text("fleet", null=True),
    _text("request"),
    sa.Column("constraint_class", sa.Text, nullable=False, server_default=sa.text("''")),
    _text("spread_group", null=True),
    _text("member_of", null=True),  # by its name, whoever asked; `fleet` is who asked for it
)
sa.Index(
    "uq_placements_open_name",
    placements.c.name,
    unique=True,
    sqlite_where=OPEN_STATES,
    postgresql_where=OPEN_STATES,
)
sa.Index(
    "ix_placements_queue",
    placements.c.state,
    placements.c.constraint_class,
    placements.c.priority.desc(),
    placements.c.created_at,
    placements.c.id,
)
sa.Index(
    "ix_placements_deadline",
    placements.c.state,
    placements.c.deadline,
    sqlite_where=WITH_DEADLINE,
    postgresql_where=WITH_DEADLINE,
)
sa.Index(
    "ix_placements_spread_group",
    placements.c.spread_group,
    sqlite_where=IN_A_GROUP,
    postgresql_where=IN_A_GROUP,
)
sa.Index("ix_placements_newest", placements.c.created_at, placements.c.id)
sa.Index("ix_placements_newest_in_state", placements.c.state, placements.c.created_at, placements.c.id)
sa.Index(
    "ix_placements_ended",
    placements.c.state,
    placements.c.updated_at,
    sqlite_where=CLOSED_STATES,  # so that taking one in and moving it on need not keep it up
    postgresql_where=CLOSED_STATES,
)
sa.Index(
    "ix_placements_members",
    placements.c.member_of,
    placements.c.created_at,
    placements.c.id,
    sqlite_where=sa.and_(OPEN_STATES, IS_MEMBER),
    postgresql_where=sa.and_(OPEN_STATES, IS_MEMBER),
)
sa.Index(
    "ix_placements_tried",
    placements.c.fleet,
    placements.c.updated_at,
    placements.c.id,
    sqlite_where=sa.and_(TRIED_STATES, OF_FLEET),
    postgresql_where=sa.and_(TRIED_STATES, OF_FLEET),
)

_PLACEMENT = "placements.id"

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("placement_id", sa.Text, sa.ForeignKey(_PLACEMENT, ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    _text("region"),
    _instant("sent_at", ahead_s=PAST),
    _instant("send_deadline", ahead_s=UNBOUNDED),  # of an earlier term it is not used (`quiet_until`)
    sa.Column("epoch", sa.BigInteger, nullable=False),
    _text("namesakes"),
    _text("outcome", null=True),
    _text("detail", null=True),
    _text("kind", null=True),
    _text("scope", null=True),
    _text("code", null=True),
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("id", SERIAL, primary_key=True),
    sa.Column("placement_id", sa.Text, sa.ForeignKey(_PLACEMENT, ondelete="CASCADE"), nullable=False),
    _instant("decided_at", ahead_s=UNBOUNDED),
    _text("region", null=True),
    _text("reason", null=True),
    _text("policy"),
    _instant("observed_at", ahead_s=UNBOUNDED, null=True),
    _text("considered"),
    sa.Index("ix_decisions_of", "placement_id", "id"),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    _key("key"),
    _text("digest"),
    _text("placement_id"),
    _instant("at", ahead_s=PAST),
    sa.Index("ix_idempotency_keys_at", "at"),
)

alerts = sa.Table(
    "alerts",
    metadata,
    _key("fingerprint"),
    _text("labels"),
    _text("annotations"),
    _text("state"),
    _instant("active_at", ahead_s=PAST),
    _instant("fired_at", ahead_s=PAST, null=True),
    _instant("resolved_at", ahead_s=PAST, null=True),
    _instant("keep_firing_since", ahead_s=PAST, null=True),
    _flag("expired"),
    _flag("settled"),
    sa.Column("changes", sa.Text, nullable=False, server_default=sa.text("'[]'")),
    _instant("flapping_since", ahead_s=PAST, null=True),
)

silences = sa.Table(
    "silences",
    metadata,
    _key("id"),
    _text("matchers"),
    _instant("starts_at", ahead_s=UNBOUNDED),
    _instant("ends_at", ahead_s=UNBOUNDED),
    _instant("updated_at", ahead_s=PAST),
    _text("created_by"),
    _text("comment"),
    sa.Index("ix_silences_ends_at", "ends_at", "id"),
)

notification_log = sa.Table(
    "notification_log",
    metadata,
    _key("receiver"),
    _key("group_key"),
    _instant("at", ahead_s=PAST),
    _text("firing"),
    _text("resolved"),
)

outbox = sa.Table(
    "outbox",
    metadata,
    _key("id"),
    _text("receiver"),
    sa.Column("body", sa.LargeBinary, nullable=False),
    _instant("created_at", ahead_s=PAST),
    _instant("expires_at", ahead_s=UNBOUNDED),  # moves with created_at
    _text("state"),
    _count("tries"),
    _instant("next_try_at", ahead_s=retry_after.MOST_S),
    _instant("leased_until", ahead_s=retry_after.MOST_S, null=True),
    _text("last_error", null=True),
    _instant("ended_at", ahead_s=PAST, null=True),
    # next_try_at, or the lease's end while leased: one column, so that one index finds what is due.
    _instant("due_at", ahead_s=retry_after.MOST_S),
    sa.Index("ix_outbox_due", "receiver", "state", "due_at", "created_at", "id"),
    sa.Index("ix_outbox_newest_in_state", "state", "created_at", "id"),
    sa.Index("ix_outbox_newest", "created_at", "id"),
    sa.Index("ix_outbox_ended", "state", "ended_at"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", SERIAL, primary_key=True),
    _instant("at", ahead_s=PAST),
    _text("type"),
    _text("kind"),
    _text("subject_id"),
    _text("name", null=True),
    _text("region", null=True),
    _text("detail"),
    sa.Index("ix_events_at", "at", "id"),
    sqlite_autoincrement=True,  # an id is never given twice, even after the newest events were deleted
)

leases = sa.Table(
    "leases",
    metadata,
    _key("name"),
    _text("holder"),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    _instant("expires_at", ahead_s=UNBOUNDED, null=True),
    sa.Column("backend", sa.Integer),
    comment="expires_at by the server's clock; null where a file lock stands for it",
)

meta = sa.Table("meta", metadata, _key("key"), _text("value"))
