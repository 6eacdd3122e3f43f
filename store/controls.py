"""Serialisation of a document's controls, in the database and in jobs: `[[start, length, factor], ...]`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from core.errors import InvalidControl
from core.prompts import TextControl


def control_rows(controls: Iterable[TextControl]) -> list[list[float]]:
    return [[control.start, control.length, control.factor] for control in controls]


def controls_of(rows: Sequence[Sequence[float]]) -> tuple[TextControl, ...]:
    """The inverse of `control_rows`. Raises InvalidControl for anything else."""
    try:
        return tuple(TextControl(start=int(start), length=int(length), factor=factor) for start, length, factor in rows)
    except (TypeError, ValueError) as error:
        raise InvalidControl(f"these are no controls as Salience stores them: {error}", param="controls") from error


def pack_controls(controls: Iterable[TextControl]) -> str | None:
    """JSON for the database column; None where there are no controls."""
    rows = control_rows(controls)
    return json.dumps(rows, separators=(",", ":")) if rows else None


def unpack_controls(stored: str | None) -> tuple[TextControl, ...]:
    """The inverse of `pack_controls`. Raises InvalidControl for what it never writes."""
    if stored is None:
        return ()
    try:
        rows = json.loads(stored)
    except ValueError as error:
        raise InvalidControl(f"the stored controls are not JSON: {error}", param="controls") from error
    return controls_of(rows)
