"""Emphasis by word: `{"play": 7, "tv show": 0.2}` to controls on the query's text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from core.errors import InvalidControl
from core.prompts import MAX_FACTOR, MIN_FACTOR, TextControl
from embedder.lexical.words import Word, normalize, units

MAX_KEYS = 1000  # each is a control at least, and a query takes no more of these
MAX_CHARACTERS = 1000  # of a key
SHOWN_WORDS = 20  # of the query, in the message about a word that is not in it


def emphasis_controls(text: str, emphasis: Mapping[str, float]) -> tuple[TextControl, ...]:
    """A control on every place of `text` where a word or phrase of `emphasis` stands, ordered by start.

    Words are compared whole and in normal form (NFKC, case folded); a phrase is a sequence of words, whatever stands
    between them; scripts without spaces, and Korean, match by character. What is not in the text so is looked up among
    the parts that apostrophes join, and stands for the whole word: "auto" for "l'auto". A key without letters and
    digits (an emoji) is looked up as it is. Raises InvalidControl for too many keys, for one that is empty, too long,
    not in the text or given twice in different spelling, and for a factor that is no number from MIN_FACTOR to
    MAX_FACTOR.
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
    """Words as one text, to look for phrases in: by comparing word for word, the time would be that of a product."""

    def __init__(self, words: Sequence[Word]) -> None:
        self._words = words
        self._text = _joined([word.text for word in words])
        self._begins = list(accumulate((len(word.text) + 1 for word in words), initial=0))  # of each word in the text

    def spans(self, phrase: Sequence[str]) -> list[tuple[int, int]]:
        """Of the places where the words of the phrase stand one behind the other."""
        places = [bisect_left(self._begins, begin) for begin in _places(self._text, _joined(phrase), shared=1)]
        found = [(self._words[place].start, self._words[place + len(phrase) - 1].end) for place in places]
        return [*dict.fromkeys(found)]


def _joined(words: Sequence[str]) -> str:
    return "\0".join(["", *words, ""])


def _places(text: str, sought: str, *, shared: int = 0) -> Iterator[int]:
    """Where it begins, from left to right; two places have no more than `shared` characters in common."""
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
