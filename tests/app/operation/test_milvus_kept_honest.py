"""verify, repair, stats, compact, backup and figures over the HTTP API, of collections that Milvus holds."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import app.milvus
from app.main import create_app
from app.settings import load_settings
from app.wiring import Wiring
from embedder.local import LocalEncoder
from store import Database
from tests.store.passageindex.bringing import bring
from tests.store.passageindex.brought import recorded, stock_brought
from tests.store.passageindex.plain import PlainIndex

Salience = Callable[..., tuple[int, str, str]]


class Shared(PlainIndex):
    """By several processes, one after the other."""

    def close(self) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlainIndex:
    """What every process has for the Milvus of its settings."""
    found = Shared(tmp_path / "engine.db")
    monkeypatch.setattr(app.milvus, "milvus", lambda settings: found)
    return found


@pytest.fixture
def books(salience: Salience, index: PlainIndex, tmp_path: Path) -> None:
    """Added by the command line, and brought to the engine; then one goes."""
    lines = [{"id": f"b{i}", "text": f"A whale was seen from the ship on day {i}."} for i in range(6)]
    (tmp_path / "books.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert salience("collections", "create", "books", "--index", "milvus")[0] == 0
    assert salience("add", str(tmp_path / "books.jsonl"), "-c", "books")[0] == 0
    with closing(Database.open(tmp_path / "data")) as database:
        bring(database, index)
    assert salience("delete", "b3", "-c", "books")[0] == 0


@pytest.mark.usefixtures("books")
def test_verify_and_repair(salience: Salience, index: PlainIndex, tmp_path: Path) -> None:
    code, out, err = salience("verify")
    assert (code, "5 passages, " in out, "6 passages in Milvus" in " ".join(out.split())) == (0, True, True)
    assert "passages of 'books' that are gone, and still in Milvus: 1; no search shows" in " ".join(err.split())
    index.drop(recorded(tmp_path / "data", "books").name)
    code, out, _ = salience("verify", "--json")
    (finding,) = json.loads(out)["findings"]
    assert (code, finding["check"], finding["problem"]) == (1, "passage index", "Milvus has lost all of it")
    code, out, _ = salience("repair")
    assert code == 0
    assert "the passage index of 'books': counted anew, and brought to Milvus anew" in " ".join(out.split())
    assert salience("verify")[0] == 0
    index.down = True
    code, out, _ = salience("verify", "--json")
    assert code == 0
    assert "what Milvus holds of 'books'" not in str(json.loads(out)["not_checked"]), (
        "nothing is there now, and nothing should be"
    )
    with closing(Database.open(tmp_path / "data")) as database:
        index.down = False
        bring(database, index)
    index.down = True
    code, out, _ = salience("verify", "--json")
    assert code == 0
    assert "what Milvus holds of 'books': the plain index is down" in json.loads(out)["not_checked"]


def test_stats_and_compact(salience: Salience, index: PlainIndex, tmp_path: Path) -> None:
    stock_brought(tmp_path / "data", index)
    code, out, _ = salience("stats")
    assert code == 0
    (heading,) = re.findall(r"segments of .*", out)
    assert heading.endswith("not sealed yet  in Milvus")
    cells = {line.split()[0]: line.split()[1:] for line in out.partition(heading)[2].splitlines() if line}
    assert cells["books"] == ["0", "0", "0", "0", "0.00", "1", "35"]
    assert cells["plain"] == ["0", "0", "0", "0", "0.00", "1", "0"]
    found = json.loads(salience("stats", "--json")[1])["collections"]
    assert [(one["name"], one["unsealed"], one["elsewhere"]) for one in found] == [
        ("books", 1, 35), ("plain", 1, 0), ("songs", 0, 10),
    ]  # fmt: skip
    code, out, err = salience("compact")
    assert code == 0
    assert "plain: files" in out
    assert "books" not in out
    assert "held by Milvus, and in no segments here: books, songs" in " ".join(err.split())


@pytest.mark.usefixtures("books")
def test_a_backup_has_names_of_its_own(salience: Salience, tmp_path: Path) -> None:
    assert salience("backup", str(tmp_path / "saved"))[0] == 0
    assert salience("verify", "-d", str(tmp_path / "saved"))[0] == 0
    names = []
    for directory in (tmp_path / "data", tmp_path / "saved"):
        with closing(sqlite3.connect(directory / "salience.db")) as connection:
            names.append({name for (name,) in connection.execute("SELECT name FROM passage_index")})
    assert (len(names[0]), len(names[1]), names[0] & names[1]) == (1, 1, set())


def test_figures_over_the_api(index: PlainIndex, encoder: LocalEncoder, tmp_path: Path) -> None:
    stock_brought(tmp_path / "data", index)
    with TestClient(create_app(Wiring(load_settings(data_dir=tmp_path / "data"), encoder=encoder))) as client:
        body = client.get("/v1/collections/books/stats").json()
        assert (body["passages"], body["unsealed"], body["elsewhere"]) == (36, 1, 35)
        assert body["segments"] == {"files": 0, "rows": 0, "tombstones": 0, "bytes": 0}
        metrics = client.get("/metrics").text
        for name, count in (("passages", 36), ("unsealed", 1), ("elsewhere", 35), ("tombstones", 0), ("segments", 0)):
            assert f'salience_collection_{name}{{collection="books"}} {count}.0' in metrics
