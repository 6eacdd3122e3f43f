"""Bringing an engine all that is committed, at once."""

from __future__ import annotations

from unittest.mock import patch

from store import Database
from store.indexreplication import Replication
from store.passageindex.protocol import PassageIndex


def bring(database: Database, index: PassageIndex) -> None:
    """However little it is; and what went is removed."""
    with patch("store.indexreplication.QUIET_ROWS", 1):
        following = Replication(index, grace_seconds=0.0, quiet_seconds=0.0)
        for _ in range(2):  # at the second look what went has been seen before
            while following.follow(database):
                pass
