"""The interface of an explanation's objective, and its measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from core.prompts import Prompt
from core.records import Float64Array, Int64Array
from embedder.explaining.request import ExplanationRequest, ObjectiveName

Spans = list[tuple[int, int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """The objective's value of each part of the target under each prompt; higher is better."""

    parts: Spans  # spans of the target; together they cover it without overlap
    values: Float64Array  # (prompts, parts)
    preceding: Float64Array  # (parts, parts) drop of part k when part j is suppressed within the target; 0 for j >= k
    truncated: bool  # whether the model cut prompt or target


class Objective(Protocol):
    """A model and the value that is measured with it."""

    @property
    def name(self) -> ObjectiveName: ...

    @property
    def model(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def token_spans(self, text: str) -> Int64Array:
        """(tokens, 2) character spans of the model's tokens of `text`."""
        ...

    def measure(self, prompts: Sequence[Prompt], request: ExplanationRequest) -> Measurement:
        """Measures the request's target under each of `prompts`; the first is the request's own, nothing suppressed."""
        ...


def target_parts(target: str, token_spans: Int64Array) -> Spans:
    """One part (start, end) for each token, including the white space before it; the parts join to the whole target.

    If several tokens write one character, the first gets it and the parts of the others are empty.
    """
    ends: list[int] = []
    for _, end in token_spans:
        ends.append(max(int(end), ends[-1] if ends else 0))
    ends[-1:] = [len(target)]
    return list(zip([0, *ends[:-1]], ends, strict=True))
