"""Checks a model: are its results independent of the batch, how fast is it, does it agree with another library."""

from __future__ import annotations

import importlib
import importlib.util
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from core.errors import InvalidInput
from core.prompts import ControlOptions, ControlTarget, Prompt, TextControl
from core.protocols import Encoder, Reranker, SparseEncoder
from core.records import Float64Array, Representation
from embedder.kinds import ModelKind, model_folder
from embedder.modelfolder import read_model_folder

if TYPE_CHECKING:
    from app.models import Models

SAME = 0.9999  # least cosine between the results of two runs over the same text
QUERY = "how do I play on my television"
_VOCABULARY = 300_000  # larger than any model's own, so that the rows of several calls have one width
_WORDS = "a red car stood by the old house while rain fell on the quiet street and nobody came to play that day".split()


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    good: bool | None  # None: informative, neither good nor bad
    text: str


def check(models: Models, name: str) -> Iterator[Finding]:
    """Load the model and run every check for its kind. Raises ModelNotFound, ModelError."""
    described = models.describe(name)
    start = time.perf_counter()
    model = models.model(name)
    yield Finding(name="loading", good=None, text=f"{time.perf_counter() - start:.1f} s, a {described.kind} model")
    match described.kind:
        case ModelKind.DENSE | ModelKind.VISION | ModelKind.HYBRID:
            encoder = cast("Encoder", model)
            yield from _check_vectors(encoder)
            yield from _check_controls(encoder)
            yield from _speed(lambda texts: encoder.encode([Prompt.of(t) for t in texts], Representation.DOCUMENT))
        case ModelKind.RERANKER:
            reranker = cast("Reranker", model)
            # with a constant second component, so that the cosine differs between scores
            yield _in_company(lambda texts: np.array([[score, 1.0] for score in reranker.rerank(QUERY, texts).scores]))
            yield from _speed(lambda texts: reranker.rerank(QUERY, texts))
        case ModelKind.SPARSE | ModelKind.CAUSAL:
            pass
    if described.kind in (ModelKind.SPARSE, ModelKind.HYBRID):
        sparse = cast("SparseEncoder", model)
        yield _in_company(lambda texts: _sparse_rows(sparse, texts), "determinism of terms")
        yield from _speed(lambda texts: sparse.encode_sparse([Prompt.of(t) for t in texts], Representation.DOCUMENT))
    settings = described.settings
    own = (settings.document_prefix, settings.pooling, settings.dimension)  # unknown to sentence-transformers
    folder = settings.folder
    if described.kind is ModelKind.DENSE and folder is not None and own == (None, None, None):
        yield from _compare(encoder, model_folder(folder))


def _check_vectors(model: Encoder) -> Iterator[Finding]:
    texts = _passages(16)
    vectors = _rows(model, texts)
    lengths = np.linalg.norm(vectors, axis=1)
    whole = bool(np.isfinite(vectors).all()) and bool(np.abs(lengths - 1).max() < 1e-3)
    yield Finding(
        name="vectors",
        good=whole,
        text=f"{model.dimension} dimensions, unit length" if whole else "a vector is not finite or not of unit length",
    )
    cosines = (vectors @ vectors.T)[np.triu_indices(len(texts), 1)]
    apart = bool(cosines.min() < 1 - 1e-3)
    detail = "different texts have different vectors" if apart else "different texts have the same vector"
    yield Finding(name="meaning", good=apart, text=f"{detail} (cosines {cosines.min():.3f} to {cosines.max():.3f})")
    yield _in_company(lambda some: _rows(model, some))


def _in_company(rows: Callable[[Sequence[str]], Float64Array], name: str = "determinism") -> Finding:
    """Check that every text has the same row alone, in a batch, and in a shuffled batch."""
    texts = _passages(16)
    order = random.Random(5).sample(range(len(texts)), len(texts))
    alone = np.stack([rows([text])[0] for text in texts])
    batch, shuffled = rows(texts), rows([texts[i] for i in order])
    back = np.empty_like(shuffled)
    back[order] = shuffled
    worst = min(_cosine(alone, batch), _cosine(alone, back))
    return Finding(
        name=name,
        good=worst >= SAME,
        text=f"alone, in a batch and shuffled: lowest cosine {worst:.6f}, at least {SAME} is needed",
    )


def _check_controls(model: Encoder) -> Iterator[Finding]:
    """Check that controls move the vector of their own text only; a model that takes none is not a failure."""
    start = QUERY.index("play")
    steered = Prompt.of(QUERY, controls=(TextControl(start=start, length=4, factor=0),))
    plain = _rows(model, [QUERY])[0]
    for target in (ControlTarget.ATTENTION, ControlTarget.POOL):
        name = f"controls on {target.value}"
        try:
            found = model.encode([steered], Representation.DOCUMENT, options=ControlOptions(target=target)).vectors[0]
        except InvalidInput as refusal:
            yield Finding(name=name, good=None, text=f"not taken: {refusal.message}")
            continue
        moved = 1 - float(found.astype(np.float64) @ plain)
        yield Finding(
            name=name, good=moved > 1e-5, text=f"leaving a word out moves the vector by {moved:.4f} (1 - cosine)"
        )
    try:
        beside = model.encode([steered, Prompt.of(QUERY)], Representation.DOCUMENT).vectors[1]
    except InvalidInput:
        return  # without controls there are no steered neighbours
    worst = float(beside.astype(np.float64) @ plain)
    yield Finding(name="steered neighbours", good=worst >= SAME, text=f"a plain text beside one: cosine {worst:.6f}")


def _speed(run: Callable[[Sequence[str]], Any]) -> Iterator[Finding]:
    run([QUERY])
    times = [_seconds(lambda: run([QUERY])) for _ in range(15)]
    yield Finding(name="one short text", good=None, text=f"{statistics.median(times) * 1000:.1f} ms (median of 15)")
    texts = _passages(32)
    took = _seconds(lambda: run(texts))
    yield Finding(name="passages", good=None, text=f"{len(texts) / took:,.0f} a second, of 20 to 120 words")


def _compare(model: Encoder, folder: Path) -> Iterator[Finding]:
    """Compare with sentence-transformers if it happens to be installed; it is not a dependency."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return
    importlib.import_module("transformers.utils.logging").disable_progress_bar()
    oracle = importlib.import_module("sentence_transformers").SentenceTransformer(str(folder), device="cpu")
    texts = _passages(8)
    prompt = read_model_folder(folder).prefixes[Representation.DOCUMENT]
    theirs = np.asarray(oracle.encode(texts, prompt=prompt, normalize_embeddings=True), dtype=np.float64)
    ours = _rows(model, texts)
    if theirs.shape != ours.shape:
        yield Finding(name="sentence-transformers", good=None, text=f"has {theirs.shape[1]} dimensions: not compared")
        return
    worst = _cosine(ours, theirs)
    yield Finding(name="sentence-transformers", good=worst >= 0.99, text=f"lowest cosine to its vectors {worst:.6f}")


def _passages(count: int) -> list[str]:
    """Return `count` texts of 20 to 120 words, the same in every run."""
    source = random.Random(7)
    return [" ".join(source.choices(_WORDS, k=source.randint(20, 120))) for _ in range(count)]


def _rows(model: Encoder, texts: Sequence[str]) -> Float64Array:
    return model.encode([Prompt.of(t) for t in texts], Representation.DOCUMENT).vectors.astype(np.float64)


def _sparse_rows(model: SparseEncoder, texts: Sequence[str]) -> Float64Array:
    vectors = model.encode_sparse([Prompt.of(t) for t in texts], Representation.DOCUMENT).vectors
    rows = np.zeros((len(vectors), _VOCABULARY))
    for row, vector in zip(rows, vectors, strict=True):
        np.add.at(row, vector.ids % _VOCABULARY, vector.weights)  # remote models number terms by a hash
    return rows


def _cosine(one: Float64Array, other: Float64Array) -> float:
    """Return the lowest cosine between corresponding rows."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / np.maximum(lengths, 1e-12)).min())


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
