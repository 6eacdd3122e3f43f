"""Weights of a learned sparse model beside the dense vectors, and the model that made them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Columns without a default are added in place: no table is written anew, however large it is.
    op.add_column("generation", sa.Column("sparse_model", sa.Text))
    op.add_column("generation", sa.Column("sparse_fingerprint", sa.Text))
    op.add_column("embedding", sa.Column("learned", sa.LargeBinary))
