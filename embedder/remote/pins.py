"""The pin file, which keeps the probe vectors of remotes between restarts, by fingerprint and representation."""

from __future__ import annotations

import json
from pathlib import Path

import filelock
import numpy as np

from core.errors import ModelError
from core.records import Float32Array, Representation
from core.syncing import make_directories, replace_file

_LOCK_SECONDS = 10.0  # to wait while another process writes a vector of its own
_UNREADABLE = (ValueError, TypeError, AttributeError, RecursionError)  # raised for JSON of another shape


def read_pins(file: Path, fingerprint: str) -> dict[Representation, Float32Array]:
    """The stored vectors of a fingerprint, (dimension,) each. Raises ModelError if the file cannot be used."""
    try:
        pins = _content(file).get(fingerprint, {})
        return {Representation(name): _vector(numbers) for name, numbers in pins.items()}
    except (OSError, *_UNREADABLE) as error:
        raise _unusable(file, error) from error


def write_pin(file: Path, fingerprint: str, representation: Representation, vector: Float32Array) -> Float32Array:
    """Stores a vector unless another process was first, and returns the stored one.

    Raises ModelError if the file cannot be read or written.
    """
    try:
        make_directories(file.parent)
        with filelock.FileLock(file.with_name(f"{file.name}.lock"), timeout=_LOCK_SECONDS):
            content = _content(file)
            pins = content.setdefault(fingerprint, {})
            if representation.value not in pins:
                pins[representation.value] = vector.tolist()
                replace_file(file, json.dumps(content).encode("utf-8"))
        return _vector(pins[representation.value])
    except (OSError, *_UNREADABLE) as error:
        raise _unusable(file, error) from error


def _content(file: Path) -> dict[str, dict[str, list[float]]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    return content


def _vector(numbers: list[float]) -> Float32Array:
    return np.array([float(number) for number in numbers], dtype=np.float32)


def _unusable(file: Path, error: Exception) -> ModelError:
    """The error shows only the name of the file's folder: clients must not learn where the data is stored."""
    reason = (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
    return ModelError(
        f"the pin file {file.parent.name}/{file.name} of a remote model cannot be used ({reason}): it says which "
        "model the remote was. Restore the file, or delete it if you know that it is the same still"
    )
