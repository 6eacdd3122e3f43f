"""Fits projections to fewer dimensions, and stores them in files named `<space>-<size>.safetensors`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from core.errors import InvalidInput, ModelError
from core.records import Float32Array, Float64Array
from core.syncing import make_directories, replace_file

TEXTS_PER_DIMENSION = 10  # with fewer texts the last rows of a projection would be left to chance
_TENSOR = "projection"


@dataclass(frozen=True, kw_only=True, slots=True)
class Projection:
    """A projection and where it comes from."""

    matrix: Float32Array  # (size, dimension), orthonormal rows
    space: str  # of the encoder that it was fitted for: embedder.projection.space
    model: str  # that encoder's name
    texts: int  # number of texts that it was fitted on
    kept: float  # the share of the texts' squared length that it keeps, 0 to 1


class SecondMoment:
    """The sum of the outer products of embedded texts, which is all that is needed to fit a projection."""

    def __init__(self, dimension: int) -> None:
        self.texts = 0
        self._sum = np.zeros((dimension, dimension))

    def add(self, vectors: Float32Array) -> None:
        """Adds embedded texts; `vectors`: (texts, dimension)."""
        wide = vectors.astype(np.float64)
        self._sum += wide.T @ wide
        self.texts += len(vectors)

    def fit(self, size: int, *, space: str, model: str) -> Projection:
        """The projection to the `size` directions that keep most of the squared length.

        Raises InvalidInput for a size outside 1 to dimension - 1, or for fewer than TEXTS_PER_DIMENSION texts for each
        of the `size` dimensions.
        """
        dimension = len(self._sum)
        if not 1 <= size < dimension:
            raise InvalidInput(
                f"size {size}: must be from 1 to {dimension - 1}, below the {dimension} dimensions of model {model}",
                param="size",
            )
        least = TEXTS_PER_DIMENSION * size
        if self.texts < least:
            raise InvalidInput(
                f"{self.texts:,} different texts are too few to fit {size} dimensions: at least {least:,} are needed",
                param="texts",
            )
        values, vectors = np.linalg.eigh(self._sum / self.texts)
        chosen = vectors[:, ::-1][:, :size].T
        return Projection(
            matrix=np.ascontiguousarray(_signed(chosen), dtype=np.float32),
            space=space,
            model=model,
            texts=self.texts,
            kept=float(values[::-1][:size].sum() / values.sum()),
        )


def projection_file(folder: Path, space: str, size: int) -> Path:
    """The path of the file for the projection of a space to `size` dimensions."""
    return folder / f"{space}-{size}.safetensors"


def write_projection(folder: Path, projection: Projection) -> Path:
    """Writes the projection into `folder`, created if missing; atomically, so that readers see the old or new file."""
    file = projection_file(folder, projection.space, len(projection.matrix))
    about = {
        "space": projection.space,
        "model": projection.model,
        "texts": str(projection.texts),
        "kept": f"{projection.kept:.6f}",
        "sha256": _sha256(projection.matrix),
    }
    make_directories(folder)
    replace_file(file, save({_TENSOR: projection.matrix}, metadata=about))
    return file


def read_projection(file: Path) -> Projection:
    """Reads a projection. Raises ModelError if the file is damaged or holds no projection."""
    try:
        with safe_open(file, framework="numpy") as opened:
            about = opened.metadata() or {}
            matrix: Float32Array = opened.get_tensor(_TENSOR)
        found = Projection(
            matrix=matrix,
            space=about["space"],
            model=about["model"],
            texts=int(about["texts"]),
            kept=float(about["kept"]),
        )
        intact = matrix.dtype == np.float32 and matrix.ndim == 2 and _sha256(matrix) == about["sha256"]
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ModelError(f"{file} is no projection ({error}); delete it and fit it anew") from error
    if not intact:
        raise ModelError(f"{file} is damaged: its values have another sha256; delete it and fit it anew")
    return found


def _signed(rows: Float64Array) -> Float64Array:
    """`rows`, each with its largest component positive: an eigenvector's sign is arbitrary."""
    largest = rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)]
    signed: Float64Array = rows * np.sign(largest)[:, None]
    return signed


def _sha256(matrix: Float32Array) -> str:
    return hashlib.sha256(matrix.tobytes()).hexdigest()
