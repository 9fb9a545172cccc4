"""What the placement engine remembers besides: what a refusal says, what /regions answered,
how often an alert came and went, silences, which fleet a placement belongs to.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _attempts()
    _region_history()
    op.add_column("regions", sa.Column("smoothed_ms", sa.Double(), nullable=True))
    _alerts()
    _silences()
    _fleets()


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
