"""Damage to segments: their rows, and content that is not the database's although all hashes fit."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from store import Database
from store.arrayfile import ArrayWriter, check_file, open_file
from store.catalog import get_collection
from store.directory import SEGMENTS
from store.segments.rows import SegmentRow, active_segments

Arrays = dict[str, Any]


def rewrite(directory: Path, collection: str, change: Callable[[Arrays], None]) -> None:
    """Put a segment of other content in the place of a sound one: all hashes fit."""
    row = row_of(directory, collection)
    path = directory / SEGMENTS / row.name
    arrays = {name: np.array(array) for name, array in open_file(path, row.seal).items()}
    change(arrays)
    path.unlink()
    with ArrayWriter(path, {name: (array.dtype, array.shape) for name, array in arrays.items()}) as file:
        for name, array in arrays.items():
            file.append(name, array)
        made = file.finish()
    assert check_file(path, made) == []
    execute(directory, "UPDATE segment SET bytes = ?, sha256 = ? WHERE id = ?", made.size, made.sha256, row.id)


def row_of(directory: Path, collection: str) -> SegmentRow:
    database = Database.open(directory)
    with database.read() as session:
        (row,) = active_segments(session, get_collection(session, collection).active.id)
    database.close()
    return row


def execute(directory: Path, statement: str, *parameters: object) -> None:
    with closing(sqlite3.connect(directory / "salience.db", isolation_level=None)) as connection:
        assert connection.execute(statement, parameters).rowcount > 0


def _swap(name: str, first: Any, second: Any) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name][[first, second]] = arrays[name][[second, first]]

    return change


def _add(name: str, place: Any, number: Any) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name][place] += number

    return change


def _add_to_a_frequency_of_the_first(arrays: Arrays) -> None:
    """Of a passage that is there: what one that is gone held is of no account."""
    arrays["terms.values"][np.flatnonzero(arrays["terms.rows"] == 0)[0]] += 1


def _drop_last_row(arrays: Arrays) -> None:
    for name in ("ids", "documents", "vectors"):
        arrays[name] = arrays[name][:-1]


def _drop_all_lists(arrays: Arrays) -> None:
    arrays["scan.lists"] = np.full(len(arrays["ids"]), 3, np.uint16)
    arrays["scan.centroids"] = np.zeros((2, 8), np.float32)


OTHER_CONTENT = {
    "another dimension": (lambda a: a.update(vectors=a["vectors"][:, :7]), "by the database it is 178 of 8 dimensions"),
    "fewer passages": (_drop_last_row, "holds 177 passages and vectors of shape (177, 8); by the database it is 178"),
    "ids in disorder": (_swap("ids", 3, 4), "its passages are not in order"),
    "a passage of nobody": (_add("ids", -1, 5000), "which is not there, nor went after change"),
    "another document": (_swap("documents", 0, -1), "the documents of passage 1 and 1 more are not those of the"),
    "another vector": (_swap("vectors", 20, 40), "the vectors of passage 2"),
    "a bit of a vector": (_add("vectors", (9, 3), np.float32(1e-7)), "the vectors of passage "),
    "a frequency": (_add_to_a_frequency_of_the_first, "the terms of passage"),
    "terms": (_add("terms.terms", slice(None), 1), "the terms of passage"),
    "lengths": (_add("terms.lengths", 0, 1), "the terms of passage"),
    "a long vector": (_add("largest_norm", 0, 1), "says that its longest vector has the length 2; it has 1"),
    "rows in disorder": (_swap("terms.rows", 0, 1), "its terms do not name their passages in order"),
    "a row beyond": (_add("terms.rows", -1, 5000), "its terms do not name their passages in order"),
    "terms in disorder": (_swap("terms.terms", 0, 1), "its terms are not in the order of their ids"),
    "offsets": (_add("terms.offsets", 1, -400), "its terms do not say where each term begins"),
    "a lost offset": (lambda a: a.update({"terms.offsets": a["terms.offsets"][:-1]}), "its terms do not fit together"),
    "codes": (_add("scan.codes", 7, 9), "the codes of 1 vectors are not theirs"),
    "fewer codes": (lambda a: a.update({"scan.codes": a["scan.codes"][1:]}), "has codes of shape (177, 2); for its"),
    "lengths of vectors": (_add("scan.length", 0, 0.5), "does not know which of its vectors are of another length"),
    "lists": (_drop_all_lists, "its lists do not hold all of its vectors"),
}  # fmt: skip
