"""Dimensionality reduction: linear projections that give any encoder shorter vectors.

A projection P (size, dimension) turns a unit vector v into Pv, scaled to unit length. Its rows are the eigenvectors of
the second moment of many embedded texts, largest eigenvalues first: principal components without centring, which keep
the origin that the cosines refer to (Jolliffe, "Principal Component Analysis", section 14.2.3). The vectors of a model
trained so that the first dimensions can be used alone (Matryoshka, Kusupati et al., 2022) are cut instead: there P
consists of the first rows of the identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from core.errors import InvalidInput
from core.prompts import ControlOptions, Prompt
from core.protocols import Encoder, Priority, Progress
from core.records import Embeddings, Float32Array, Int64Array, Representation, TokenTrace
from embedder.projectionfile import projection_file, read_projection

SHIPPED = Path(__file__).parent / "projections"
_DEFAULT_OPTIONS = ControlOptions()


@runtime_checkable
class _Described(Protocol):
    """What local encoders tell about their vectors in addition to core.protocols.Encoder."""

    @property
    def space(self) -> str: ...

    @property
    def matryoshka(self) -> tuple[int, ...]: ...


def compressed(encoder: Encoder, size: int, *, fitted: Path | None = None) -> Encoder:
    """`encoder` with unit vectors of `size` dimensions; the encoder itself if that already is its dimension.

    `fitted`: the folder of the user's own projections, which take precedence over those that Salience ships; without
    any, the vectors of a Matryoshka model are cut. Raises InvalidInput for other sizes, which lists the available ones
    and says how to fit a projection, and ModelError if a projection's file is damaged.
    """
    if size == encoder.dimension:
        return encoder
    found = _projection(encoder, size, fitted)
    if found is not None:
        return CompressedEncoder(encoder, found)
    allowed = " and ".join(str(n) for n in sizes(encoder, fitted=fitted))
    problem = f"model {encoder.name} has no vectors of {size} dimensions: allowed are {allowed}"
    if 1 <= size < encoder.dimension:
        problem += f"; to add {size}, fit a projection: salience models fit {encoder.name} --size {size} TEXTS"
    raise InvalidInput(problem, param="dimension")


def sizes(encoder: Encoder, *, fitted: Path | None = None) -> tuple[int, ...]:
    """All sizes that `compressed` supports for this encoder, its own dimension included, largest first."""
    found = {encoder.dimension, *_matryoshka(encoder)}
    for folder in (fitted, SHIPPED):
        names = [file.stem for file in folder.glob(f"{space(encoder)}-*.safetensors")] if folder is not None else []
        found |= {int(name.rpartition("-")[2]) for name in names}
    return tuple(sorted(found, reverse=True))


def space(encoder: Encoder) -> str:
    """An identifier of the encoder's vector space, the same for every precision: a projection belongs to a space."""
    return encoder.space if isinstance(encoder, _Described) else encoder.fingerprint


class CompressedEncoder:
    """Fulfils core.protocols.Encoder: another encoder's vectors, projected and scaled to unit length."""

    def __init__(self, encoder: Encoder, projection: Float32Array) -> None:
        """`projection`: (size, dimension of `encoder`)."""
        self.base = encoder
        self.name = encoder.name
        self.dimension = len(projection)
        self.max_tokens = encoder.max_tokens
        self.fingerprint = projected_fingerprint(encoder.fingerprint, projection)
        self._projection = projection

    def encode(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = _DEFAULT_OPTIONS,
        priority: Priority = Priority.INTERACTIVE,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Vectors (prompts, dimension) float32 of unit length, in the order of `prompts`. Raises as `base` does."""
        found = self.base.encode(prompts, representation, options=options, priority=priority, progress=progress)
        return Embeddings(
            vectors=projected(found.vectors, self._projection),
            token_counts=found.token_counts,
            truncated=found.truncated,
        )

    def trace(
        self, prompts: Sequence[Prompt], representation: Representation, *, options: ControlOptions = _DEFAULT_OPTIONS
    ) -> list[TokenTrace] | None:
        """The traces of `base` with projected token vectors; None if `base` has none.

        The projection is linear, so projecting the tokens and then averaging equals projecting their mean.
        """
        traces = self.base.trace(prompts, representation, options=options)
        if traces is None:
            return None
        return [
            TokenTrace(
                spans=trace.spans,
                special=trace.special,
                vectors=trace.vectors @ self._projection.T,
                weights=trace.weights,
            )
            for trace in traces
        ]

    def token_spans(self, text: str) -> Int64Array:
        return self.base.token_spans(text)

    def overhead(self, representation: Representation) -> int:
        return self.base.overhead(representation)


def projected(vectors: Float32Array, projection: Float32Array) -> Float32Array:
    """(n, size) float32 of unit length: `vectors` (n, dimension) projected by `projection` (size, dimension)."""
    images = vectors @ projection.T
    lengths = np.linalg.norm(images, axis=1, keepdims=True)
    scaled: Float32Array = (images / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled


def stored_projection(space: str, size: int, fitted: Path | None) -> Float32Array | None:
    """(size, dimension) the projection of a space: the user's own, else the one that Salience ships, else None."""
    for folder in (fitted, SHIPPED):
        file = None if folder is None else projection_file(folder, space, size)
        if file is not None and file.is_file():
            return _cached(file, file.stat().st_mtime_ns)
    return None


def cut(size: int, dimension: int) -> Float32Array:
    """(size, dimension) the projection that keeps the first `size` components."""
    return np.eye(size, dimension, dtype=np.float32)


def projected_fingerprint(fingerprint: str, projection: Float32Array) -> str:
    """The fingerprint of an encoder combined with a projection."""
    facts = f"{fingerprint} {hashlib.sha256(projection.tobytes()).hexdigest()}"
    return hashlib.sha256(facts.encode("utf-8")).hexdigest()[:32]


def _projection(encoder: Encoder, size: int, fitted: Path | None) -> Float32Array | None:
    stored = stored_projection(space(encoder), size, fitted)
    if stored is None and size in _matryoshka(encoder):
        return cut(size, encoder.dimension)
    return stored


@lru_cache(maxsize=16)
def _cached(file: Path, _modified: int) -> Float32Array:
    return read_projection(file).matrix


def _matryoshka(encoder: Encoder) -> tuple[int, ...]:
    known = encoder.matryoshka if isinstance(encoder, _Described) else ()
    return tuple(size for size in known if size < encoder.dimension)
