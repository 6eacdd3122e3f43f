"""The language of a text, guessed from its letters: deterministic, offline, well under a millisecond."""

from __future__ import annotations

from functools import cache

import regex
from py3langid.langid import MODEL_FILE, LanguageIdentifier

READ_CHARACTERS = 500  # of the text; more changes next to nothing and costs time
MIN_LETTERS = 20  # below that a guess is a coin toss
MIN_CONFIDENCE = 0.5  # of the best language, 0..1, normalised for length by the library

_LETTER = regex.compile(r"\p{L}")


def detect(text: str) -> str | None:
    """The ISO 639-1 code of the language of `text`, or None where it is too short or undecided."""
    sample = text[:READ_CHARACTERS]
    if len(_LETTER.findall(sample)) < MIN_LETTERS:
        return None
    code, confidence = _identifier().classify(sample)
    return str(code) if confidence >= MIN_CONFIDENCE else None


def detectable() -> frozenset[str]:
    """The codes that `detect` can answer."""
    return frozenset(_identifier().labels)


@cache
def _identifier() -> LanguageIdentifier:
    """Loaded at first use; it is only read afterwards, so threads may share it."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
