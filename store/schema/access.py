"""Tables of API keys and of the audit log."""

from __future__ import annotations

import sqlalchemy as sa

from store.schema.base import metadata

# API keys: see core/access.py. Rows are never deleted, so that a key once issued never becomes another one.
# Times are seconds since 1970. `revision` grows with every change of what keys may do: see store/keys.py.
api_key = sa.Table(
    "api_key",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("salt", sa.LargeBinary, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),  # core.access.digest_of
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text),  # null: a key of the operator
    sa.Column("role", sa.Text, nullable=False),  # core.access.Role
    sa.Column("patterns", sa.Text, nullable=False),  # JSON array
    sa.Column("rows", sa.Text),  # JSON of a filter
    sa.Column("limits", sa.Text, nullable=False),  # JSON of core.access.Limits
    sa.Column("created_at", sa.Float, nullable=False),
    *(sa.Column(name, sa.Float) for name in ("expires_at", "revoked_at", "last_used_at")),  # last use: within a minute
    sa.Column("replaced_by", sa.Integer),  # api_key.id
    sa.Column("revision", sa.Integer, nullable=False),
    sa.UniqueConstraint("prefix", name="api_key_prefix"),
    sa.Index("api_key_revision", "revision"),
    sa.Index(
        "api_key_copy",
        "prefix", "salt", "digest", "name", "tenant", "role", "patterns", "rows", "limits", "created_at", "expires_at",
        "revoked_at", "last_used_at", "replaced_by",
    ),
    sqlite_autoincrement=True,
)  # fmt: skip

# The audit log: what administrators did. Holds no text of a document and no secret.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),  # seconds since 1970
    *(sa.Column(name, sa.Text, nullable=False) for name in ("who", "action", "target", "outcome")),  # audit.Action
    sa.Index("audit_copy", "at", "who", "action", "target", "outcome"),
    sqlite_autoincrement=True,
)
