"""Verify the change log: replayed from the beginning, it must give exactly the stored passages."""

from __future__ import annotations

from collections.abc import Iterator

from store.reindex.record import ENDED
from store.verify.reading import Finding, Reading

_HISTORIES = """
    SELECT passage_id,
           SUM(operation = '+') AS came,
           SUM(operation = '-') AS went,
           SUM(operation NOT IN ('+', '-', '=')) AS unknown,
           MIN(CASE operation WHEN '+' THEN seq END) AS first,
           MAX(CASE operation WHEN '-' THEN seq END) AS last,
           MIN(CASE operation WHEN '=' THEN seq END) AS touched_first,
           MAX(CASE operation WHEN '=' THEN seq END) AS touched_last
    FROM change WHERE generation_id = :generation GROUP BY passage_id
"""
_IMPOSSIBLE = f"""
    SELECT passage_id FROM ({_HISTORIES})
    WHERE unknown OR came <> 1 OR went > 1 OR COALESCE(last < first, 0)
       OR COALESCE(touched_first < first, 0) OR COALESCE(touched_last > last, 0)
"""
_LIVE = f"SELECT passage_id FROM ({_HISTORIES}) WHERE came > 0 AND went = 0"
_STORED = """
    SELECT passage.id FROM passage JOIN document ON document.id = document_id
    WHERE collection_id = (SELECT collection_id FROM generation WHERE id = :generation)
"""
_OVER = ", ".join(f"'{state}'" for state in ENDED)
_LASTING = f"""
    SELECT generation.id, name FROM generation JOIN collection ON collection.id = collection_id
    WHERE generation.state = 'active' AND NOT EXISTS (
        SELECT 1 FROM reindexing WHERE hidden_id = collection.id AND reindexing.state IN ({_OVER})
    )
"""
_OF_GENERATION = (
    (_IMPOSSIBLE, "comes, is replaced and goes in an order that cannot be"),
    (f"{_LIVE} EXCEPT {_STORED}", "is there by the log, and is not stored"),
    (f"{_STORED} EXCEPT {_LIVE}", "is stored, and is not there by the log: no search finds it"),
)


def check_changes(reading: Reading) -> Iterator[Finding]:
    """Check the log of every generation, including hidden ones.

    Skips what ended reindexes left behind, failed ones included: their log may be in the middle of being removed.
    """
    done, total = 0, reading.count("change")
    for generation, name in list(reading.rows(_LASTING)):
        for statement, problem in _OF_GENERATION:
            for (passage,) in reading.connection.execute(statement, {"generation": generation}):
                where = f"passage {passage} of {name!r}"
                yield Finding(check="change log", where=where, problem=problem, collection=name)
        done += int(next(reading.rows("SELECT COUNT(*) FROM change WHERE generation_id = ?", generation))[0])
        reading.tick("changes", done, total)
