"""The dense part of the index bench, over 20,000 vectors: real processes, real segments, small stand-ins for texts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
    assert list(report) == ["targets", "20000"]
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
