"""What the placement engine remembers besides: what a refusal says."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _attempts()
    op.add_column("regions", sa.Column("smoothed_ms", sa.Double(), nullable=True))


def _attempts() -> None:
    for name in ("kind", "scope", "code"):
        op.add_column("attempts", sa.Column(name, sa.Text(), nullable=True))
