"""The pin file: probe vectors of remotes by fingerprint and representation, kept from one start to the next."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np

from core.errors import ModelError
from core.records import Float32Array, Representation


def read_pins(file: Path, fingerprint: str) -> dict[Representation, Float32Array]:
    """The vectors that are kept for a fingerprint. Raises ModelError for a file that is none of ours."""
    try:
        return {
            Representation(name): np.array([float(value) for value in vector], dtype=np.float32)
            for name, vector in _content(file).get(fingerprint, {}).items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _unusable(file, str(error)) from error


def write_pin(file: Path, fingerprint: str, representation: Representation, vector: Float32Array) -> None:
    """Keep a vector; the file is replaced as a whole. Raises ModelError where it cannot be written."""
    try:
        content = _content(file)
        content.setdefault(fingerprint, {})[representation.value] = vector.tolist()
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, new = tempfile.mkstemp(dir=file.parent, prefix=file.name, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(content, stream)
        Path(new).replace(file)
    except (OSError, ValueError) as error:
        raise _unusable(file, str(error)) from error


def _content(file: Path) -> dict[str, dict[str, list[float]]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unusable(file, str(error)) from error
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    return content


def _unusable(file: Path, reason: str) -> ModelError:
    return ModelError(
        f"the pin file {file} of remote models cannot be used ({reason}). Restore it, or delete it if you know that no "
        "remote changed its model"
    )
