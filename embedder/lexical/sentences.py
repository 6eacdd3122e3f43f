"""Sentence segmentation by the rules of a language, and trimming of white space from spans."""

from __future__ import annotations

from collections.abc import Iterator

import sentencex

# sentencex panics on multi-byte white space before an initial: it becomes a plain space, and the offsets stay the same.
_PLAIN_SPACES = {code: " " for code in range(0x3001) if chr(code).isspace() and (code > 0x7F or 0x1C <= code <= 0x1F)}


def without_space(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The span (start, end) without the white space at its ends; None if it is white space only."""
    part = text[start:end]
    return (start + len(part) - len(part.lstrip()), start + len(part.rstrip())) if part.strip() else None


def sentence_ends(text: str, language: str) -> Iterator[int]:
    """Yields the end (exclusive) of each sentence of `text`, in order.

    `language`: an ISO 639-1 code; unknown ones are treated as English.
    """
    for boundary in sentencex.get_sentence_boundaries(language, text.translate(_PLAIN_SPACES)):
        yield boundary["end_index"]
