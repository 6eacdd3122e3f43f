"""salience verify, repair, compact, backup, restore, migrate and stats, from the command line."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from store import Database
from store.catalog import delete_collection
from store.migrate import SCHEMA_VERSION
from tests.store.versions import version_of, write_version

Salience = Callable[..., tuple[int, str, str]]


@pytest.fixture
def articles(salience: Salience, tmp_path: Path) -> Path:
    """A data directory with a collection of articles, one of them long, with metadata; and a job that is done."""
    lines = [
        {"id": f"a{i}", "title": f"Article {i}", "text": f"The {i}th text about whales and ships. " * (1 + i * 40)}
        for i in range(6)
    ]
    (tmp_path / "articles.jsonl").write_text("\n".join(json.dumps({**line, "year": 2000}) for line in lines))
    code, out, _ = salience("add", str(tmp_path / "articles.jsonl"), "-c", "articles")
    assert (code, out) == (0, "articles: 6 created\n")
    return tmp_path / "data"


def spoil(data: Path, statement: str) -> None:
    with closing(sqlite3.connect(data / "salience.db")) as connection, connection:
        assert connection.execute(statement).rowcount > 0


def test_what_the_real_model_and_the_real_pipeline_stored_is_intact(articles: Path, salience: Salience) -> None:
    code, out, err = salience("verify")
    assert (code, out.startswith(f"{articles} is intact: 1 collection, 6 documents, ")) == (0, True), out
    assert "not checked: whether vectors, terms and learned weights are what the models make of the texts" in err
    assert err.count("not checked") == 1
    code, out, _ = salience("verify", "--json")
    body = json.loads(out)
    assert (code, body["ok"], body["schema"], body["findings"]) == (0, True, SCHEMA_VERSION, [])
    assert body["checked"]["documents"] == 6
    assert body["checked"]["passages"] == body["checked"]["changes"] > 6


def test_damage_is_named_with_what_to_do_and_the_exit_code(articles: Path, salience: Salience) -> None:
    spoil(articles, "UPDATE document SET text = replace(text, 'whales', 'snails') WHERE external_id = 'a4'")
    code, out, err = salience("verify")
    assert code == 1
    assert out == (
        "documents: document 'a4' of 'articles': its title, text, metadata, controls, language or hash is not what was "
        "written\n"
    )
    assert "Delete those documents and add them again" in err
    body = json.loads(salience("verify", "--json")[1])
    assert [finding["where"] for finding in body["findings"]] == ["document 'a4' of 'articles'"]
    assert not body["ok"]
    # the advice helps
    assert salience("delete", "a4", "-c", "articles")[0] == 0
    assert salience("add", str(articles.parent / "articles.jsonl"), "-c", "articles")[0] == 0
    assert salience("verify")[0] == 0


def test_hashes_are_computed_anew(articles: Path, salience: Salience) -> None:
    """A text that was damaged before its checksum was made, by the upgrade from a version without checksums."""
    from store import schema
    from store.checksum import covered_columns, row_checksum

    spoil(articles, "UPDATE document SET text = replace(text, 'whales', 'snails') WHERE external_id = 'a4'")
    with closing(sqlite3.connect(articles / "salience.db")) as connection, connection:
        connection.create_function("row_checksum", -1, row_checksum)
        columns = ", ".join(covered_columns(schema.document))
        connection.execute(f"UPDATE document SET checksum = row_checksum({columns})")
    code, out, _ = salience("verify")
    assert (code, "'a4'" in out, "not those that its hash was made of" in out) == (1, True, True)


def test_many_findings_are_cut_and_structural_damage_asks_for_a_backup(articles: Path, salience: Salience) -> None:
    spoil(articles, "DELETE FROM change")
    code, out, err = salience("verify")
    assert code == 1
    assert out.count("is not there by the log") == 20
    assert "more; --json lists up to 1,000" in out
    assert "salience repair makes anew (--dry-run says what that is; keep a copy of the directory)" in err


def test_backup_and_restore(articles: Path, salience: Salience, tmp_path: Path) -> None:
    code, out, _ = salience("backup", str(tmp_path / "saved"))
    assert (code, out.startswith(f"{tmp_path / 'saved'} is a verified backup of {articles}: 1 collection, 6 ")) == (
        0,
        True,
    )
    before = salience("search", "whales", "-c", "articles", "--json")[1]
    code, out, err = salience("backup", str(tmp_path / "saved"))
    assert (code, out) == (1, "")
    assert "is there already" in err
    code, out, err = salience("restore", str(tmp_path / "saved"))
    assert (code, out) == (1, "")
    assert "is not empty" in err
    shutil.rmtree(articles)
    code, out, _ = salience("restore", str(tmp_path / "saved"))
    assert (code, out.startswith(f"{articles} was restored from {tmp_path / 'saved'}, and verified: ")) == (0, True)
    hits = json.loads(salience("search", "whales", "-c", "articles", "--json")[1])["hits"]
    assert hits == json.loads(before)["hits"]
    assert salience("verify", "-d", str(tmp_path / "saved"))[0] == 0


def test_stats(articles: Path, salience: Salience) -> None:
    code, out, _ = salience("stats")
    assert code == 0
    assert out.startswith(f"{articles}  schema {SCHEMA_VERSION}  last seq ")
    for line in (
        "documents",
        "vectors",
        "postings of terms",
        "change log",
        "free pages",
        "write-ahead log",
        "articles",
    ):
        assert f"\n{line}" in out or f"\n  {line}" in out, line
    body = json.loads(salience("stats", "--json")[1])
    (one,) = body["collections"]
    assert (one["name"], one["documents"], one["vector_bytes"]) == ("articles", 6, one["embeddings"] * 384 * 4)
    assert sum(body["bytes_by_kind"].values()) + body["free_bytes"] == body["file_bytes"]
    assert body["jobs"] == {"done": 1}
    (segments, unsealed) = one["segments"], one["unsealed"]
    assert segments["rows"] + unsealed == one["passages"]
    assert f"maintained by  {body['maintained_by'] or 'nobody now'}" in out
    assert (body["processes"], body["leftovers"], body["waiting_documents"]) == ([], [], 0)


def test_what_a_deletion_left_unfinished_is_counted_and_not_shown_as_a_collection(
    articles: Path, salience: Salience, tmp_path: Path
) -> None:
    database = Database.open(articles)
    with database.write() as session:
        delete_collection(session, "articles")
    database.close()
    out = salience("stats")[1]
    assert "\ndeleted collections  1, whose rows will go\n" in out
    assert "articles!" not in out
    assert salience("add", str(tmp_path / "articles.jsonl"), "-c", "articles")[0] == 0
    assert "deleted" not in salience("stats")[1]


def test_statistics_of_one_collection_by_the_api(client: TestClient) -> None:
    assert client.delete("/v1/collections/goods/documents/tv").status_code == 204
    body = client.get("/v1/collections/goods/stats").json()
    counts = (body["documents"], body["passages"], body["unsealed"], body["embeddings"])
    assert counts == (2, 2, 2, 2)
    assert body["vector_bytes"] == 2 * 384 * 4
    assert body["segments"] == {"files": 0, "rows": 0, "tombstones": 0, "bytes": 0}
    answer = client.get("/v1/collections/none/stats")
    assert (answer.status_code, "goods" in answer.text) == (404, True)


def test_repair_by_the_model(articles: Path, salience: Salience) -> None:
    """What no segment holds is embedded anew; a text that is damaged stays damaged, and is named."""
    assert salience("repair")[0] == 0
    before = search(salience)
    shutil.rmtree(articles / "segments", ignore_errors=True)
    spoil(articles, "UPDATE embedding SET dense = zeroblob(1536) WHERE id IN (SELECT id FROM embedding LIMIT 2)")
    spoil(articles, "DELETE FROM document_field WHERE document_id = 3")
    code, out, _ = salience("repair", "--dry-run")
    assert (code, "would be done: " in out, salience("verify")[0]) == (0, True, 1)
    code, out, err = salience("repair")
    assert code == 0, err
    assert "embedded anew from their texts" in out
    assert "the values that filters compare are made anew" in out
    assert f"{articles} is intact: 1 collection, 6 documents" in out
    assert search(salience) == before
    spoil(articles, "UPDATE document SET text = replace(text, 'whales', 'snails') WHERE external_id = 'a4'")
    code, out, err = salience("repair", "--json")
    body = json.loads(out)
    assert (code, body["done"], [one["where"] for one in body["left"]["findings"]]) == (
        1, [], ["document 'a4' of 'articles'"],
    )  # fmt: skip
    assert "Delete those documents and add them again" in salience("repair")[2]


def search(salience: Salience) -> list[tuple[str, float]]:
    hits = json.loads(salience("search", "whales and ships", "-c", "articles", "--json", "-k", "6")[1])["hits"]
    return [(hit["document_id"], hit["score"]) for hit in hits]


def test_compact(articles: Path, salience: Salience) -> None:
    before = search(salience)
    assert salience("delete", "a5", "-c", "articles")[0] == 0
    expected = [(id_, score) for id_, score in search(salience) if id_ != "a5"]
    assert len(expected) == len(before) - 1
    body = json.loads(salience("compact", "--json")[1])
    (held,) = body["after"]["segments"].values()
    assert (held["files"], held["tombstones"]) == (1, 0)
    assert body["after"]["wal_bytes"] == 0
    assert [path.stat().st_size for path in (articles / "segments").iterdir()] == [held["bytes"]], "the old one is gone"
    assert search(salience) == expected
    size = body["after"]["file_bytes"]
    assert salience("delete", "a4", "-c", "articles")[0] == 0
    code, out, err = salience("compact", "articles", "--vacuum")
    assert (code, err) == (0, "")
    assert "articles: tombstones" in out
    assert (articles / "salience.db").stat().st_size < size
    assert salience("verify")[0] == 0
    code, _, err = salience("compact", "nothing")
    assert (code, "there is no collection 'nothing'" in err) == (1, True)


def test_a_damaged_file_is_not_written_anew(articles: Path, salience: Salience) -> None:
    """Its indexes would be made from its tables, and whatever these hold would look right."""
    with closing(sqlite3.connect(articles / "salience.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM document WHERE external_id = 'a1'")
    code, _, err = salience("compact", "--vacuum")
    assert (code, "is damaged (a row of " in err) == (1, True)


def test_migrate(salience: Salience, tmp_path: Path) -> None:
    write_version(tmp_path / "data", "0002")
    code, out, _ = salience("migrate", "--backup", str(tmp_path / "before"))
    assert (code, out) == (0, f"{tmp_path / 'data'} has the schema {SCHEMA_VERSION}, which is that of this program\n")
    assert (version_of(tmp_path / "before"), version_of(tmp_path / "data")) == ("0002", SCHEMA_VERSION)
    assert salience("migrate")[0] == 0


@pytest.mark.parametrize("command", ["verify", "stats", "migrate", "backup", "repair", "compact"])
def test_a_mistyped_data_directory_is_refused_and_not_made(salience: Salience, tmp_path: Path, command: str) -> None:
    arguments = [str(tmp_path / "target")] if command == "backup" else []
    code, out, err = salience(command, *arguments, "-d", str(tmp_path / "mistyped"))
    assert (code, out) == (1, "")
    assert "there is no data directory" in err
    assert list(tmp_path.iterdir()) == []


def test_an_old_directory_is_verified_as_far_as_it_goes(salience: Salience, tmp_path: Path) -> None:
    write_version(tmp_path / "data", "0001")
    code, out, err = salience("verify")
    assert (code, out) == (0, f"{tmp_path / 'data'} is intact: its structure\n")
    assert "schema 0001 has no checksums" in err
    assert version_of(tmp_path / "data") == "0001"
