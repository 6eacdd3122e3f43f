"""A text as the sequence of its words, each by what its language makes of it: what phrases are compared by."""

from __future__ import annotations

from embedder.lexical.languages import rules_for
from embedder.lexical.words import WORD_PATTERN, units

_BREAK = "\x01"  # between two runs of unspaced characters that something parts


class WordSequence:
    """Words stand for their terms, stop words for their normal form, characters of unspaced scripts each for itself.

    What is between words, such as a comma, does not matter; only runs of such characters are told apart by it.
    """

    def __init__(self, text: str, language: str) -> None:
        """`language`: as `Analyzer.language_of` gives it."""
        keys: list[str] = []
        key = rules_for(language).key
        after_run = False
        for match in WORD_PATTERN.finditer(text):
            if match.lastgroup == "unspaced":
                if after_run:
                    keys.append(_BREAK)
                keys.extend(unit.text for unit in units(match[0]))
            else:
                keys.append(key(match[0]))
            after_run = match.lastgroup == "unspaced"
        self._joined = "\0".join(["", *keys, ""])

    def __contains__(self, phrase: WordSequence) -> bool:
        """Whether the words of `phrase` stand here, one behind the other."""
        return phrase._joined in self._joined
