"""Row checksums, by which `verify` detects that a stored value was altered.

Every value of the database is stored or derivable twice. The long values of a table are covered by a checksum in the
same row. All others are also in an index, and SQLite's integrity check compares every index entry with its row; or
they are recounted, as `term_count` is. A test makes sure that no column is left out.
"""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa

CHECKSUM = "checksum"  # name of the checksum column
_BYTES = 8
_COVERS = "covers"  # key in the info of the checksum column: the names of the columns that it covers


def row_checksum(*values: str | bytes | int | float | None) -> bytes:
    """8 bytes of BLAKE2b over the values, their types and their lengths.

    A damaged text may contain bytes that are not UTF-8, as lone surrogates (surrogateescape): they are hashed as bytes.
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
    """A column that fills itself with the checksum of the columns `names`, which every insert must give.

    `rewritten`: updates recompute it and must also give all of them. Otherwise these columns never change.
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
    """The columns that the table's checksum covers, in checksum order; empty where it has no checksum."""
    return tuple(table.c[CHECKSUM].info[_COVERS]) if CHECKSUM in table.c else ()
