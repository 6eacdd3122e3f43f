"""Phrase matching: a text as the sequence of the normalised words in it."""

from __future__ import annotations

from embedder.lexical.languages import rules_for
from embedder.lexical.words import WORD_PATTERN, units

_BREAK = "\x01"  # between two separate runs of unspaced characters


class WordSequence:
    """A sequence of keys: terms for words, normal forms for stop words, single characters for unspaced scripts.

    Text between words, such as a comma, does not matter, except that it separates runs of unspaced characters.
    """

    def __init__(self, text: str, language: str) -> None:
        """`language`: a code returned by `Analyzer.language_of`."""
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
        """Whether the words of `phrase` occur here in sequence."""
        return phrase._joined in self._joined
