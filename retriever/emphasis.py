"""Converts emphasis by word, `{"play": 7, "tv show": 0.2}`, to controls on the query's text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from core.errors import InvalidControl
from core.prompts import MAX_FACTOR, MIN_FACTOR, TextControl
from embedder.lexical.words import Word, normalize, units

MAX_KEYS = 1000  # each gives at least one control, and a query may have no more than this many controls
MAX_CHARACTERS = 1000  # of a key
SHOWN_WORDS = 20  # words of the query that the error message for an unknown word lists


def emphasis_controls(text: str, emphasis: Mapping[str, float]) -> tuple[TextControl, ...]:
    """A control on every occurrence in `text` of a word or phrase of `emphasis`, ordered by start.

    Words are compared whole and in normal form (NFKC, case folded). A phrase is a sequence of words, regardless of the
    characters between them. Scripts without spaces, and Korean, match by character. A word that is not found is looked
    up among the parts of words with apostrophes, and then stands for the whole word: "auto" for "l'auto". A key
    without letters and digits (an emoji) is searched for verbatim.

    Raises InvalidControl if there are too many keys; if a key is empty, too long, not in the text or given twice in
    different spelling; and if a factor is not a number from MIN_FACTOR to MAX_FACTOR.
    """
    if not emphasis:
        return ()
    if len(emphasis) > MAX_KEYS:
        raise InvalidControl(f"emphasis names {len(emphasis)}; at most {MAX_KEYS} are allowed", param="emphasis")
    words = tuple(units(text))
    whole = _Said(words)
    parts = _Said([word._replace(text=part) for word in words for part in word.text.split("'")])
    seen: dict[tuple[str, ...], str] = {}
    controls: list[TextControl] = []
    for key, factor in emphasis.items():
        if len(key) > MAX_CHARACTERS:
            raise InvalidControl(
                f"emphasis: {key[:40] + '...'!r} has {len(key)} characters; at most {MAX_CHARACTERS} are allowed",
                param="emphasis",
            )
        if not MIN_FACTOR <= factor <= MAX_FACTOR:  # false for NaN too
            raise InvalidControl(
                f"emphasis of {key!r} is {factor}: must be a number from {MIN_FACTOR:g} to {MAX_FACTOR:g}",
                param="emphasis",
            )
        phrase = tuple(word.text for word in units(key))
        sought = phrase or (key.strip(),)
        if sought in seen:
            raise InvalidControl(f"emphasis names {seen[sought]!r} and {key!r}, which are the same", param="emphasis")
        seen[sought] = key
        if phrase:
            spans = whole.spans(phrase) or parts.spans([part for word in phrase for part in word.split("'")])
        else:
            spans = [(start, start + len(sought[0])) for start in _places(text, sought[0])]
        if not spans:
            raise _not_in_query(key, words)
        controls.extend(TextControl(start=start, length=end - start, factor=factor) for start, end in spans)
    return tuple(sorted(controls, key=lambda control: (control.start, control.length)))


class _Said:
    """Words joined into one text, to find phrases by string search instead of comparing at every position."""

    def __init__(self, words: Sequence[Word]) -> None:
        self._words = words
        self._text = _joined([word.text for word in words])
        self._begins = list(accumulate((len(word.text) + 1 for word in words), initial=0))  # of each word in the text

    def spans(self, phrase: Sequence[str]) -> list[tuple[int, int]]:
        """The character spans where the words of the phrase occur in sequence."""
        places = [bisect_left(self._begins, begin) for begin in _places(self._text, _joined(phrase), shared=1)]
        found = [(self._words[place].start, self._words[place + len(phrase) - 1].end) for place in places]
        return [*dict.fromkeys(found)]


def _joined(words: Sequence[str]) -> str:
    return "\0".join(["", *words, ""])


def _places(text: str, sought: str, *, shared: int = 0) -> Iterator[int]:
    """Where `sought` begins, left to right; two occurrences overlap by at most `shared` characters."""
    start = text.find(sought) if sought else -1
    while start >= 0:
        yield start
        start = text.find(sought, start + len(sought) - shared)


def _not_in_query(key: str, words: Sequence[Word]) -> InvalidControl:
    shown = ", ".join(dict.fromkeys(repr(word.text) for word in words[:SHOWN_WORDS])) or "none"
    more = ", ..." if len(words) > SHOWN_WORDS else ""
    return InvalidControl(
        f"emphasis of {key!r}: the query does not have {normalize(key)!r}; its words are {shown}{more}",
        param="emphasis",
    )
