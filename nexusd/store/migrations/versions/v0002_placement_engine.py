"""What the placement engine remembers besides: the queue by constraint class, spread groups, coolings off by
region and plan, the launch budget, what a refusal says, what /regions answered, how often an alert came and
went, silences, which fleet a placement belongs to.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"
branch_labels = None
depends_on = None

WITH_DEADLINE = sa.text("deadline IS NOT NULL")
IN_A_GROUP = sa.text("spread_group IS NOT NULL")


def upgrade() -> None:
    _placements()
    _coolings()
    _budgets()
    _attempts()
    _region_history()
    op.add_column("regions", sa.Column("smoothed_ms", sa.Double(), nullable=True))
    _alerts()
    _silences()
    _fleets()


def _placements() -> None:
    op.add_column(
        "placements",
        sa.Column("constraint_class", sa.Text(), server_default=sa.text("''"), nullable=False),
    )
    op.add_column("placements", sa.Column("spread_group", sa.Text(), nullable=True))
    _classify()
    op.drop_index("ix_placements_queue", "placements")
    op.create_index(
        "ix_placements_queue",
        "placements",
        ["state", "constraint_class", sa.text("priority DESC"), "created_at", "id"],
    )
    op.create_index(
        "ix_placements_deadline",
        "placements",
        ["state", "deadline"],
        sqlite_where=WITH_DEADLINE,
        postgresql_where=WITH_DEADLINE,
    )
    op.create_index(
        "ix_placements_spread_group",
        "placements",
        ["spread_group"],
        sqlite_where=IN_A_GROUP,
        postgresql_where=IN_A_GROUP,
    )


def _classify() -> None:
    """Give each placement the class of its constraints. No earlier version accepted a spread."""
    table = sa.table("placements", sa.column("id"), sa.column("request"), sa.column("constraint_class"))
    connection = op.get_bind()
    for key, request in connection.execute(sa.select(table.c.id, table.c.request)).fetchall():
        found = _constraint_class(json.loads(request))
        connection.execute(sa.update(table).where(table.c.id == key).values(constraint_class=found))


def _constraint_class(request: dict[str, Any]) -> str:
    regions = request.get("regions")
    constraints = [
        request["plan"],
        sorted(set(regions)) if regions is not None else None,
        sorted(set(request.get("avoid_regions", ()))),
        request.get("where"),
        None,
    ]
    text = json.dumps(constraints, separators=(",", ":"), ensure_ascii=False)
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _coolings() -> None:
    old = sa.table("coolings", *(sa.column(name) for name in ("region", "until", "step", "reason")))
    rows = op.get_bind().execute(sa.select(old)).mappings().all()
    op.drop_table("coolings")
    made = op.create_table(
        "coolings",
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.Column("step", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("allowed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("region", "plan", name=op.f("pk_coolings")),
        comment="region or plan empty: every one",
    )
    op.bulk_insert(made, [{**row, "plan": "", "allowed": 1} for row in rows])


def _budgets() -> None:
    op.create_table(
        "budgets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_budgets")),
        comment="what is left of the creates that may be sent",
    )


def _attempts() -> None:
    for name in ("kind", "scope", "code"):
        op.add_column("attempts", sa.Column(name, sa.Text(), nullable=True))


def _region_history() -> None:
    op.create_table(
        "region_history",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_region_history")),
        comment="what /regions answered from at until until, as compressed JSON",
    )
    op.create_index("ix_region_history_until", "region_history", ["until", "id"])


def _alerts() -> None:
    op.add_column("alerts", sa.Column("settled", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("alerts", sa.Column("changes", sa.Text(), server_default=sa.text("'[]'"), nullable=False))
    op.add_column("alerts", sa.Column("flapping_since", sa.Double(), nullable=True))


def _silences() -> None:
    op.create_table(
        "silences",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("matchers", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.Double(), nullable=False),
        sa.Column("ends_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_silences")),
    )
    op.create_index("ix_silences_ends_at", "silences", ["ends_at", "id"])


def _fleets() -> None:
    op.add_column("placements", sa.Column("member_of", sa.Text(), nullable=True))
    op.execute(
        "UPDATE placements SET member_of = substr(name, 1, length(name) - 6) "
        "WHERE length(name) > 6 AND substr(name, length(name) - 5, 1) = '-'"
    )
    condition = sa.text(
        "state IN ('creating', 'held', 'provisioning', 'queued', 'verifying') AND member_of IS NOT NULL"
    )
    op.create_index(
        "ix_placements_members",
        "placements",
        ["member_of", "created_at", "id"],
        sqlite_where=condition,
        postgresql_where=condition,
    )
    condition = sa.text("state IN ('failed', 'running') AND fleet IS NOT NULL")
    op.create_index(
        "ix_placements_tried",
        "placements",
        ["fleet", "updated_at", "id"],
        sqlite_where=condition,
        postgresql_where=condition,
    )
