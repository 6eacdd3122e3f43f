"""repair, of segments and embeddings: read back from one another, or made anew by the model."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from core.records import Document
from store.directory import SEGMENTS
from store.repair import embeddings, repair
from store.segments.files import segment_problems
from store.segments.rows import SegmentRow
from store.verify import verify
from tests.store.repair.mending import broken_model, documents, found, mended
from tests.store.segment_damage import OTHER_CONTENT, execute, rewrite, row_of
from tests.store.stocked import contents


def test_a_damaged_segment_is_made_anew_and_no_other(data: Path) -> None:
    kept, lost = row_of(data, "books"), row_of(data, "songs")
    for content in (b"", (data / SEGMENTS / lost.name).read_bytes()[:-1] + b"?"):
        (data / SEGMENTS / row_of(data, "songs").name).write_bytes(content)
        done, remade = mended(data)
        assert (done.left.findings, remade) == ((), [])
        assert [line.partition(" (")[0] for line in done.done] == ["segments of 'songs'"]
        assert (row_of(data, "books"), row_of(data, "songs") != lost) == (kept, True)


@pytest.mark.parametrize("what", OTHER_CONTENT)
def test_a_segment_of_other_content_is_made_anew(data: Path, what: str) -> None:
    rewrite(data, "books", OTHER_CONTENT[what][0])
    assert mended(data)[0].left.findings == ()
    assert found(data, "whale") == 57 * 3


def test_passages_that_are_in_no_segment_or_in_two(data: Path) -> None:
    execute(data, "UPDATE segment SET state = 'active'")
    done, _ = mended(data)
    assert (done.left.findings, done.done) == ((), ("all 3 segments of 'books': made anew from the database",))


def test_an_embedding_is_read_back_from_its_segment_without_a_model(data: Path, sound: Path) -> None:
    for statement in (
        "UPDATE embedding SET dense = zeroblob(32) WHERE id = 5",
        "UPDATE embedding SET sparse = x'' WHERE id = 9",
        "UPDATE embedding SET checksum = x'0000000000000000' WHERE id = 12",
        "UPDATE embedding SET learned = x'' WHERE learned IS NOT NULL AND id % 2",
    ):
        execute(data, statement)
    done = repair(data, remake=broken_model)
    assert (done.left.findings, done.failed) == ((), ())
    assert contents(data)["embedding"] == contents(sound)["embedding"]


def test_each_segment_is_read_once_however_many_embeddings_are_broken(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    def problems(directory: Path, row: SegmentRow) -> list[str]:
        checked.append(row.name)
        return segment_problems(directory, row)

    monkeypatch.setattr(embeddings, "segment_problems", problems)
    execute(data, "UPDATE embedding SET dense = zeroblob(32) WHERE id <= 20")
    assert repair(data, remake=broken_model).left.findings == ()
    assert checked == [row_of(data, "books").name]


def unsealed(directory: Path) -> int:
    with closing(sqlite3.connect(directory / "salience.db")) as connection:
        (id_,) = connection.execute("SELECT MAX(id) FROM embedding").fetchone()
    return int(id_)


def test_one_that_is_in_no_segment_is_made_anew_by_the_model(data: Path) -> None:
    execute(data, "UPDATE embedding SET dense = zeroblob(32) WHERE id = ?", unsealed(data))
    done, remade = mended(data)
    assert (done.left.findings, remade) == ((), ["unsealed"])
    assert done.done == ("1 documents of 'books' ('unsealed'): embedded anew from their texts",)
    assert found(data, "tail") == 1


def test_without_the_model_the_rest_is_mended_and_that_is_said(data: Path) -> None:
    execute(data, "UPDATE embedding SET dense = zeroblob(32) WHERE id = ?", unsealed(data))
    execute(data, "DELETE FROM document_field WHERE document_id = 5")
    before = documents(data)
    done = repair(data, remake=broken_model)
    assert done.failed == ("1 documents of 'books' cannot be embedded anew: no such model here",)
    assert [finding.check for finding in done.left.findings] == ["embeddings"]
    assert documents(data) == before


def test_a_repair_that_was_interrupted_goes_on(data: Path) -> None:
    execute(data, "UPDATE embedding SET dense = zeroblob(32) WHERE id = ?", unsealed(data))

    def vanishes(name: str, documents: Sequence[Document]) -> None:
        if documents:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repair(data, remake=vanishes)
    assert any("a repair was interrupted" in finding.problem for finding in verify(data).findings)
    done, remade = mended(data)
    assert (done.left.findings, remade) == ((), ["unsealed"])
