"""Converts files and ids on the command line to the JSON of a search."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

from core.errors import InvalidQuery

_HIT = re.compile(r"#[0-9]{1,18}")


def example_ids(given: list[str] | None) -> list[str | int]:
    return [hit_or_document(item) for item in given or []]


def hit_or_document(given: str) -> str | int:
    """Hits and documents by id: "#42" is hit 42, as searches show it; anything else is the id of a document."""
    return int(given[1:]) if _HIT.fullmatch(given) else given


def field_names(given: list[str] | None) -> list[str] | None:
    """The names in texts such as "title,metadata.price"; an empty text has none."""
    if given is None:
        return None
    return [name.strip() for item in given for name in item.split(",") if name.strip()]


def vector_of(path: Path | None) -> list[float] | None:
    """The numbers of a JSON array, or of a .npy file with one row; "-" is standard input. Raises InvalidQuery."""
    if path is None:
        return None
    if path.suffix == ".npy":
        return _from_npy(path)
    value = _json(path, "--vector", "an array such as [0.1, -0.2]")
    if not isinstance(value, list) or not all(type(item) in (int, float) for item in value):
        raise InvalidQuery(f"--vector {path}: must hold an array of numbers, such as [0.1, -0.2]")
    return [_float(path, item) for item in value]


def body_of(path: Path) -> dict[str, Any]:
    """The JSON object in a file, in the API's format; "-" is standard input. Raises InvalidQuery."""
    wanted = 'an object such as {"query": "a radio", "phrases": ["kitchen radio"]}'
    value = _json(path, "--body", wanted)
    if not isinstance(value, dict):
        raise InvalidQuery(f"--body {path}: must hold {wanted}")
    return value


def image_prompt(path: Path | None) -> list[dict[str, str]] | None:
    """A prompt of one item, the image in the file. Raises InvalidQuery."""
    return None if path is None else [{"type": "image", "data": base64.b64encode(_read(path)).decode()}]


def _json(path: Path, option: str, wanted: str) -> Any:
    try:
        return json.loads(_read(path).decode(errors="replace"))
    except (ValueError, RecursionError) as error:
        raise InvalidQuery(f"{option} {path}: not JSON ({error}); write {wanted}") from None


def _from_npy(path: Path) -> list[float]:
    import numpy as np

    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InvalidQuery(f"--vector {path}: cannot be read as a .npy file: {error}") from None
    if found.size == 0 or found.size != found.shape[-1] or found.dtype.kind not in "fiu":
        raise InvalidQuery(f"--vector {path}: holds {found.dtype} of shape {found.shape}; one row of numbers is wanted")
    return [float(item) for item in found.ravel()]


def _float(path: Path, item: float) -> float:
    try:
        return float(item)
    except OverflowError:
        raise InvalidQuery(f"--vector {path}: {str(item)[:20]}... is beyond what a number can be") from None


def _read(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidQuery(f"cannot read {path}: {error.strerror or error}") from None
