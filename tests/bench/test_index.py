"""The index bench, over 20,000 vectors or fewer passages: real processes, real segments, small stand-ins for texts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.index import contestants, vectors


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Clusters of unit vectors, in place of the embeddings of real texts."""
    chance = np.random.default_rng(0)
    centres = chance.standard_normal((60, 32))

    def near_centres(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        made = centres[chance.integers(0, 60, count)] + 0.7 * chance.standard_normal((count, 32))
        unit: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = (
            made / np.linalg.norm(made, axis=1, keepdims=True)
        ).astype(np.float32)
        return unit

    np.save(tmp_path / "passages.npy", near_centres(2_000))
    np.save(tmp_path / "queries.npy", near_centres(60))
    return tmp_path


def test_ours_alone(cache: Path) -> None:
    command = [sys.executable, "-m", "bench.index.dense", "--quick", "--alone", "--json", "--cache", str(cache)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, timeout=300)
    report = json.loads(done.stdout)
    assert list(report) == ["targets", "20000", "wrong"]
    assert report["wrong"] == []
    assert list(report["20000"]) == ["ours"]  # nobody to compare with, so no ratios
    ours = report["20000"]["ours"]
    assert ours["recall"] >= 0.98
    assert ours["pools_of_1000"]["recall"] >= 0.99
    assert ours["file_bytes"] > 20_000 * 32 * 4  # the vectors are in it
    assert ours["build_s"] > 0
    assert 0 < ours["p50_ms"] <= ours["p95_ms"]
    shares = ("0.001", "0.01", "0.1", "0.5")
    assert set(ours["filters"]) == {f"{kind} {share}" for kind in ("random", "near", "far") for share in shares}
    for name, figures in ours["filters"].items():
        assert (figures["recall"] >= 0.98, figures["missing"]) == (True, 0), name
    left = {path.name for path in cache.iterdir()}
    assert left == {"passages.npy", "queries.npy", "vectors-20000.npy"}  # segments are gone


def test_enlarged_vectors_are_real_ones_and_their_like(cache: Path) -> None:
    made, real = vectors.vectors(5_000, cache), np.load(cache / "passages.npy")
    assert np.linalg.norm(made, axis=1) == pytest.approx(1, abs=1e-5)
    nearest = (np.asarray(made) @ real.T).max(axis=1)
    assert (nearest > 0.9999).sum() == len(real)  # all of them, shuffled among the others
    assert nearest.min() > 0.5
    removed = contestants.removed_rows(5_000)
    assert len(np.unique(removed)) == 50


@pytest.fixture
def sparse(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The sparse part, over terms by Zipf's law in place of those of real texts."""
    pytest.importorskip("bm25s")
    from bench.index import sparse

    chance = np.random.default_rng(0)

    def terms(count: int) -> list[int]:
        return [int(1000**share) for share in chance.random(count)]

    documents = [np.array(terms(30), dtype=np.int32) for _ in range(200)]
    monkeypatch.setattr(sparse, "real_texts", lambda: (documents, [terms(8) for _ in range(200)]))
    monkeypatch.setattr(sparse, "ROUNDS", 2)
    return sparse


def test_the_sparse_leg_finds_what_bm25s_finds(sparse: Any) -> None:
    report = sparse.measure([2_000])
    assert report["wrong"] == []
    assert report["same_top_10"] == 1
    rows = report["sizes"]["2000"]["searches"]
    assert [(row["terms"], row["depth"]) for row in rows] == [(t, d) for t in sparse.TERMS for d in sparse.DEPTHS]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["ours_ms"] / row["bm25s_ms"], rel=0.05)
    assert report["worst_ratio"] == max(row["ratio"] for row in rows if row["depth"] == 10)
    assert report["sizes"]["2000"]["postings_bytes_a_passage"] > 30
    sparse.show(report)


def test_other_scores_than_those_of_bm25s_are_told(sparse: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse.bm25, "idf", lambda passages, df: 1.0)
    wrong = sparse.measure([2_000])["wrong"]
    assert len(wrong) == len(sparse.TERMS) * len(sparse.DEPTHS)
    assert "the same scores" in wrong[0]
