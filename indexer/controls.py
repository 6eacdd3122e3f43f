"""Parse a record's `controls` field: factors on parts of the text, given by position or by the words themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from core.errors import InvalidControl
from core.prompts import MAX_FACTOR, TextControl, TextItem
from embedder.factors import character_factors

MAX_CONTROLS = 1000  # per document; each occurrence of a text counts as one
_BY_PLACE, _BY_TEXT = {"start", "length", "factor"}, {"text", "factor"}
_TELLING = {"length", "factor"}  # keys that show that an object is a control


def are_controls(value: Any) -> bool:
    """Whether the value of a field named "controls" controls the text; any other value is ordinary metadata."""
    entries = value if isinstance(value, list) else [value]
    return value == [] or any(isinstance(entry, Mapping) and _TELLING & set(entry) for entry in entries)


def resolved_controls(value: Any, text: str) -> tuple[TextControl, ...]:
    """The controls on `text`, sorted by start.

    `value` is a list of objects of two forms: `{"start": 0, "length": 6, "factor": 0}`, in code points, and
    `{"text": "Subscribe now", "factor": 0}`, which stands for every exact occurrence. Factors are from 0 to MAX_FACTOR.
    Raises InvalidControl.
    """
    if not isinstance(value, list):
        raise InvalidControl(f"controls: must be a list of objects, not {value!r:.60}", param="controls")
    found: list[TextControl] = []
    for place, entry in enumerate(value):
        try:
            for control in _controls(entry, text):
                found.append(control)
                if len(found) > MAX_CONTROLS:
                    raise InvalidControl(f"there are more than {MAX_CONTROLS} of them, occurrences of texts counted")
        except InvalidControl as error:
            raise InvalidControl(f"controls[{place}]: {error.message}", param="controls") from error
    found.sort(key=lambda control: (control.start, control.length, control.factor))
    TextItem(text=text, controls=tuple(found))  # refuses a control that covers only white space
    character_factors(text, found, 0)  # refuses overlapping controls whose combined factor is too large
    return tuple(found)


def _controls(entry: Any, text: str) -> Iterator[TextControl]:
    if not isinstance(entry, Mapping) or set(entry) not in (_BY_PLACE, _BY_TEXT):
        raise InvalidControl(
            f"must be an object of start, length and factor, or of text and factor; it is {entry!r:.120}"
        )
    factor = entry["factor"]
    if not _is_number(factor) or not 0 <= factor <= MAX_FACTOR:
        raise InvalidControl(
            f"factor {factor!r:.60}: must be a number from 0 to {MAX_FACTOR:g}; 0 leaves the part out, and only "
            "queries go below it"
        )
    if "text" in entry:
        yield from _occurrences(entry["text"], float(factor), text)
        return
    start, length = entry["start"], entry["length"]
    if type(start) is not int or type(length) is not int:
        raise InvalidControl(f"start {start!r:.60} and length {length!r:.60}: must be whole numbers, of code points")
    if start + length > len(text):  # the sum is not in the message: it may have more digits than Python prints
        raise InvalidControl(
            f"start {start!r:.60} and length {length!r:.60}: it ends outside the text, which has {len(text)} characters"
        )
    yield TextControl(start=start, length=length, factor=float(factor))


def _occurrences(wanted: Any, factor: float, text: str) -> Iterator[TextControl]:
    if not isinstance(wanted, str) or not wanted.strip():
        raise InvalidControl(f"text {wanted!r:.60}: must be a text with a word in it")
    place = text.find(wanted)
    if place < 0:
        raise InvalidControl(f"the text {wanted!r:.100} does not occur in the document's; it is compared to the letter")
    while place >= 0:
        yield TextControl(start=place, length=len(wanted), factor=factor)
        place = text.find(wanted, place + len(wanted))


def _is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))  # isfinite fails on a huge integer
