"""Row checksums: what was written is what is read, or `verify` says so.

Every value of the database has a second witness. The columns of a table that hold long values are covered by a checksum
in the same row. All others stand in an index as well, and SQLite's integrity check compares every index entry with its
row; or they are counted anew, as `term_count` is. A test holds that no column is left out.
"""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa

CHECKSUM = "checksum"  # the column's name
_BYTES = 8
_COVERS = "covers"  # key of a column's info: the names of the columns that it covers


def row_checksum(*values: str | bytes | int | float | None) -> bytes:
    """8 bytes of BLAKE2b over the values, their types and the borders between them.

    A damaged text may hold bytes that are no UTF-8, as lone surrogates (surrogateescape): it is hashed as it stands.
    """
    digest = hashlib.blake2b(digest_size=_BYTES)
    for value in values:
        if isinstance(value, str):
            kind, content = b"t", value.encode("utf-8", "surrogateescape")
        elif isinstance(value, bytes):
            kind, content = b"b", value
        else:
            kind, content = b"n", b"" if value is None else repr(value).encode()
        digest.update(kind + len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.digest()


def checksum_column(*names: str, rewritten: bool = False) -> sa.Column[bytes]:
    """A column that is filled by itself, over the columns `names`: with every inserted row that gives all of them.

    `rewritten`: with every update as well, which then must give all of them, too. Otherwise they never change.
    """

    def computed(context: Any) -> bytes:
        row = context.get_current_parameters()
        return row_checksum(*(row[name] for name in names))

    return sa.Column(
        CHECKSUM,
        sa.LargeBinary,
        nullable=False,
        server_default=sa.text("x''"),
        default=computed,
        onupdate=computed if rewritten else None,
        info={_COVERS: names},
    )


def covered_columns(table: sa.Table) -> tuple[str, ...]:
    """The columns that the table's checksum covers, in its order; none where it has no checksum."""
    return tuple(table.c[CHECKSUM].info[_COVERS]) if CHECKSUM in table.c else ()
