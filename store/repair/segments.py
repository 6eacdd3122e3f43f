"""Repair segments: rebuild damaged ones from the database."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from store import schema
from store.catalog import find_collection
from store.database import Database
from store.segments.files import mark_damaged
from store.segments.rows import active_segments
from store.segments.sealing import rebuild, seal
from store.verify.reading import Finding


def mend_segments(database: Database, findings: Sequence[Finding], *, dry_run: bool = False) -> list[str]:
    """Rebuild the segments that the findings name; returns what was done."""
    done = []
    for name in sorted({finding.collection for finding in findings if finding.collection is not None}):
        of_one = [finding for finding in findings if finding.collection == name]
        broken = {finding.segment for finding in of_one if finding.segment is not None}
        with database.read() as session:
            generation = find_collection(session, name).active.id
            rows = active_segments(session, generation)
        if any(finding.segment is None for finding in of_one):  # together they do not hold each passage exactly once
            if not dry_run:
                _drop_all(database, generation)
            done.append(f"all {len(rows)} segments of {name!r}: made anew from the database")
            continue
        if not dry_run:
            for row in rows:
                if row.name in broken:
                    mark_damaged(database.directory, row)
            rebuild(database, generation)
        done.append(f"segments of {name!r} ({', '.join(sorted(broken))}): made anew from the database")
    return done


def _drop_all(database: Database, generation_id: int) -> None:
    with database.write() as session:
        session.execute(sa.delete(schema.segment).where(schema.segment.c.generation_id == generation_id))
    while seal(database, generation_id):
        pass
