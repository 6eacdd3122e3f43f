"""Where sentences end, by the rules of their language, and spans without the white space around them."""

from __future__ import annotations

from collections.abc import Iterator

import sentencex

# sentencex panics on white space of several bytes before an initial; the offsets stay the same
_PLAIN_SPACES = {code: " " for code in range(0x3001) if chr(code).isspace() and (code > 0x7F or 0x1C <= code <= 0x1F)}


def without_space(text: str, start: int, end: int) -> tuple[int, int] | None:
    """A span without the white space at its ends; None where it has nothing else."""
    part = text[start:end]
    return (start + len(part) - len(part.lstrip()), start + len(part.rstrip())) if part.strip() else None


def sentence_ends(text: str, language: str) -> Iterator[int]:
    """One past the last character of each sentence of `text`, rising. `language`: ISO 639-1, else as English."""
    for boundary in sentencex.get_sentence_boundaries(language, text.translate(_PLAIN_SPACES)):
        yield boundary["end_index"]
