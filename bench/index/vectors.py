"""The vectors to search: real embeddings, and synthetic ones between them.

The real ones are the default model's embeddings of the passages and queries of SciFact, Cranfield and Vaswani, indexed
as the product does it. Synthetic ones are made between neighbours: a random vector, one of its ten nearest, a random
point on the line between them, and noise of half their distance; then scaled to unit length and shuffled among the real
ones. So they lie in the same region, less clustered than texts with near duplicates, and more than unrelated texts:
this may favour inverted lists.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import faiss
import numpy as np

from app.evaluation import read_dataset
from app.settings import Settings
from app.wiring import Wiring
from bench.corpus import DATA
from core.prompts import Prompt
from core.records import CollectionSettings, Float32Array, Representation
from indexer.fields import FieldMapping, documents
from indexer.readers import Format, read

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "index"
DATASETS = ("cranfield", "scifact", "vaswani-npl")
_NEIGHBOURS = 10
_NOISE = 0.5  # length of the noise, as a share of the neighbours' distance
_BLOCK = 50_000


def queries(cache: Path = CACHE) -> Float32Array:
    """(queries, dimension) float32 embeddings of the real queries, in random order."""
    return np.asarray(np.load(_real(cache) / "queries.npy"))


def vectors(rows: int, cache: Path = CACHE) -> Float32Array:
    """(rows, dimension) float32, memory-mapped from a file in the cache, which is made if it is missing."""
    file = cache / f"vectors-{rows}.npy"
    if not file.exists():
        real = np.load(_real(cache) / "passages.npy")
        unfinished = file.with_suffix(".tmp")
        made = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.float32, shape=(rows, real.shape[1]))
        _enlarge(real, made)
        made.flush()
        unfinished.rename(file)
    found: Float32Array = np.load(file, mmap_mode="r")
    return found


def _enlarge(real: Float32Array, made: Float32Array) -> None:
    chance = np.random.default_rng(0)
    _, near = faiss.knn(real, real, _NEIGHBOURS + 1, metric=faiss.METRIC_INNER_PRODUCT)
    places = chance.permutation(len(made))
    kept = min(len(real), len(made))
    made[places[:kept]] = real[:kept]
    for begin in range(kept, len(made), _BLOCK):
        count = min(_BLOCK, len(made) - begin)
        one = chance.integers(0, len(real), count)
        other = near[one, chance.integers(1, _NEIGHBOURS + 1, count)]
        between = real[other] - real[one]
        noise = chance.standard_normal(between.shape, dtype=np.float32) / np.sqrt(np.float32(real.shape[1]))
        noise *= _NOISE * np.linalg.norm(between, axis=1, keepdims=True)
        block = real[one] + chance.random((count, 1), dtype=np.float32) * between + noise
        made[places[begin : begin + count]] = block / np.linalg.norm(block, axis=1, keepdims=True)


def _real(cache: Path) -> Path:
    """The folder with the real embeddings, which are computed on the first call."""
    if (cache / "passages.npy").exists() and (cache / "queries.npy").exists():
        return cache
    cache.mkdir(parents=True, exist_ok=True)
    passages, asked = [], []
    with tempfile.TemporaryDirectory() as folder, Wiring(Settings(data_dir=Path(folder))) as parts:
        for name in DATASETS:
            dataset = read_dataset(DATA / name)
            parts.create_collection(name, CollectionSettings())
            parts.pipeline.add(name, documents(read(dataset.corpus, format=Format.NDJSON), FieldMapping()))
            with parts.views.open(name) as view:
                nothing = np.zeros(view.generation.dimension, dtype=np.float32)
                passages.append(view.vectors(np.sort(view.nearest(nothing, view.passage_count).ids)))
            prompts = [Prompt.of(text) for text in dataset.queries.values()]
            asked.append(parts.encoder.encode(prompts, Representation.QUERY).vectors)
    every = np.concatenate(asked)
    np.save(cache / "queries.npy", every[np.random.default_rng(0).permutation(len(every))])
    np.save(cache / "passages.npy", np.concatenate(passages))
    return cache
