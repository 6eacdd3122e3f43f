"""Fitting a collection's scoring: the formulas against slow versions, and the command on a collection that needs it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tuning import ALPHAS, K1, B, cross_validated, grid, ndcg
from core.records import Collection, CollectionSettings, Generation, GenerationState, Scoring, SparseScoring
from store import Database
from store.catalog import change_scoring

Run = Callable[..., tuple[int, str, str]]
CODES = [f"{a}{b}{n}" for n, (a, b) in enumerate((a, b) for a in "qxzjk" for b in "wyfhb")]  # no word of any language

TOPICS = ["A garden pump for clean water", "Winter boots of brown leather", "A novel about the sea", "Strong black tea"]


@given(st.lists(st.integers(0, 3), max_size=14), st.lists(st.integers(0, 3), max_size=5))
def test_ndcg_equals_that_of_trec_eval(ranked: list[int], missed: list[int]) -> None:
    judged = [*ranked, *missed, 1]
    qrels = [ir_measures.Qrel("q", f"d{i}", relevance) for i, relevance in enumerate(judged)]
    run = [ir_measures.ScoredDoc("q", f"d{i}", -i) for i in range(len(ranked))] or [ir_measures.ScoredDoc("q", "x", 1)]
    expected = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)[ir_measures.nDCG @ 10]
    assert ndcg(ranked, judged) == pytest.approx(expected)


def test_cross_validation_by_hand() -> None:
    """The last fold's query alone would choose column 1; the others choose for it, and they do not."""
    table = np.array([[0.5, 0.4], [0.6, 0.5], [0.1, 0.9], [0.0, 1.0]])
    assert cross_validated(table, [0, 0, 1, 2]).tolist() == [0.4, 0.5, 0.9, 1.0]
    assert cross_validated(table, [0, 1, 2, 2]).tolist() == [0.4, 0.5, 0.1, 0.0]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12))
def test_no_query_chooses_for_itself(rows: list[tuple[float, float, float]]) -> None:
    table, folds = np.array(rows), list(range(len(rows)))
    chosen = cross_validated(table, folds)
    changed = table.copy()
    changed[0] = [0.0, 5.0, 0.0]  # for this query everything speaks for column 1 now
    others = table[1:].mean(axis=0)
    assert chosen[0] == table[0, int(others.argmax())]
    assert cross_validated(changed, folds)[0] == changed[0, int(others.argmax())]


def test_the_grid_begins_with_what_is_and_holds_everything_once() -> None:
    def collection(sparse: SparseScoring) -> Collection:
        active = Generation(
            id=1, collection_id=1, model="m", fingerprint="f", dimension=2, state=GenerationState.ACTIVE
        )
        settings = CollectionSettings(alpha=0.35, k1=0.9, sparse=sparse)
        return Collection(id=1, name="c", settings=settings, active=active, created_at="")

    tried = grid(collection(SparseScoring.BM25))
    assert tried[0] == Scoring(alpha=0.35, k1=0.9, b=0.75)
    assert len(set(tried)) == len(tried) == len(K1) * len(B) * (len(ALPHAS) + 1)
    assert {(s.k1, s.b) for s in grid(collection(SparseScoring.LEARNED))} == {(0.9, 0.75)}


@pytest.fixture
def codes(tmp_path: Path, salience: Run) -> tuple[Path, Path]:
    """A collection of things with codes that no model knows, and queries for a code, with words of other things."""
    corpus, queries, qrels = (tmp_path / name for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"))
    texts = [f"{TOPICS[i % len(TOPICS)]}, delivered with part {code}." for i, code in enumerate(CODES)]
    asked = [f"{TOPICS[(i + 1) % len(TOPICS)]} {code}" for i, code in enumerate(CODES)]
    corpus.write_text("".join(json.dumps({"_id": f"d{i}", "text": text}) + "\n" for i, text in enumerate(texts)))
    queries.write_text("".join(json.dumps({"_id": f"q{i}", "text": text}) + "\n" for i, text in enumerate(asked)))
    qrels.write_text("".join(f"q{i}\td{i}\t1\n" for i in range(len(CODES))))
    assert salience("add", str(corpus), "-c", "parts")[0] == 0
    return queries, qrels


def fusion(salience: Run) -> dict[str, Any]:
    """What a search goes by that names no fusion."""
    found: dict[str, Any] = json.loads(salience("search", "garden pump", "-c", "parts", "--json")[1])["fusion"]
    return found


def test_tune_fits_stores_and_goes_back(salience: Run, codes: tuple[Path, Path]) -> None:
    files = ["--queries", str(codes[0]), "--qrels", str(codes[1])]
    with closing(Database.open(Path(os.environ["SALIENCE_DATA_DIR"]))) as database, database.write() as session:
        change_scoring(session, "parts", Scoring(alpha=1.0))
    before = fusion(salience)
    code, out, _ = salience("tune", "parts", *files, "--json")
    assert code == 0
    said = json.loads(out)
    assert said["queries"] == len(CODES)
    assert said["current"]["alpha"] == 1
    assert said["fitted"]["alpha"] < 1
    assert said["fitted"]["ndcg@10"] > said["current"]["ndcg@10"]
    assert said["significant"]
    assert not said["stored"]
    assert fusion(salience) == before
    assert json.loads(salience("tune", "parts", *files, "--json")[1]) == said  # the same answer again

    text = salience("tune", "parts", *files, "--apply")[1]
    assert "significant" in text
    assert "--reset" in text
    settings = json.loads(salience("collections", "show", "parts", "--json")[1])["settings"]
    assert {name: settings[name] for name in ("alpha", "k1", "b")} == {
        name: said["fitted"][name] for name in ("alpha", "k1", "b")
    }
    assert fusion(salience) == {**before, "alpha": said["fitted"]["alpha"]}

    assert salience("tune", "parts", "--reset")[0] == 0
    assert fusion(salience) == {**before, "alpha": 0.5}


def test_a_gain_that_may_be_luck_is_not_stored(salience: Run, codes: tuple[Path, Path]) -> None:
    """Every query finds its part by its code at once: there is nothing to gain."""
    files = ["--queries", str(codes[0]), "--qrels", str(codes[1])]
    assert salience("tune", "parts", "--reset")[0] == 0
    code, out, _ = salience("tune", "parts", *files, "--apply", "--json")
    said = json.loads(out)
    assert (code, said["significant"], said["stored"]) == (0, False, False)
    assert math.isclose(said["cross_validated_gain"], 0, abs_tol=0.01)


def test_what_cannot_be_tuned_by_is_refused(salience: Run, codes: tuple[Path, Path], tmp_path: Path) -> None:
    queries, qrels = codes
    few = tmp_path / "few.tsv"
    few.write_text("q1\td1\t1\nq2\tnowhere\t1\n")
    refused = {
        ("tune", "parts"): "tune needs --queries FILE and --qrels FILE",
        ("tune", "parts", "--reset", "--apply"): "--reset stands alone",
        ("tune", "parts", "--queries", str(queries), "--qrels", str(few)): "1 queries have a relevant document",
        ("tune", "partz", "--queries", str(queries), "--qrels", str(qrels)): "did you mean 'parts'",
        ("tune", "partz", "--reset"): "did you mean 'parts'",
        ("tune", "parts", "--queries", str(qrels), "--qrels", str(qrels)): "every line must be like",
    }
    for arguments, said in refused.items():
        code, _, err = salience(*arguments)
        assert code == 1, arguments
        assert said in err.replace("\n", " "), err
