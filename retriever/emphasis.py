"""Emphasis by word: `{"play": 7, "tv show": 0.2}` to controls on the query's text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from core.errors import InvalidControl
from core.prompts import MAX_FACTOR, MIN_FACTOR, TextControl
from embedder.lexical.words import Word, normalize, units

SHOWN_WORDS = 20  # of the query, in the message about a word that is not in it


def emphasis_controls(text: str, emphasis: Mapping[str, float]) -> tuple[TextControl, ...]:
    """A control on every place of `text` where a word or phrase of `emphasis` stands, ordered by start.

    Words are compared whole and in normal form (NFKC, case folded); a phrase is a sequence of words, whatever stands
    between them; Chinese, Japanese and Korean match by character. A key without letters and digits (an emoji) is looked
    up as it is. Raises InvalidControl for a key that is empty, not in the text or given twice in different spelling,
    and for a factor that is no number from MIN_FACTOR to MAX_FACTOR.
    """
    if not emphasis:
        return ()
    words = tuple(units(text))
    begins: dict[str, list[int]] = {}
    for i, word in enumerate(words):
        begins.setdefault(word.text, []).append(i)
    seen: dict[tuple[str, ...], str] = {}
    controls: list[TextControl] = []
    for key, factor in emphasis.items():
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
        found = _places(words, begins.get(phrase[0], []), phrase) if phrase else _literal_places(text, key.strip())
        spans = list(found)
        if not spans:
            raise _not_in_query(key, words)
        controls.extend(TextControl(start=start, length=end - start, factor=factor) for start, end in spans)
    return tuple(sorted(controls, key=lambda control: (control.start, control.length)))


def _places(words: Sequence[Word], begins: Sequence[int], phrase: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Spans of `phrase` that do not overlap, from left to right; `begins`: where its first word stands in `words`."""
    done = 0
    for begin in begins:
        found = words[begin : begin + len(phrase)]
        if begin >= done and tuple(word.text for word in found) == phrase:
            yield found[0].start, found[-1].end
            done = begin + len(phrase)


def _literal_places(text: str, key: str) -> Iterator[tuple[int, int]]:
    start = text.find(key) if key else -1
    while start >= 0:
        yield start, start + len(key)
        start = text.find(key, start + len(key))


def _not_in_query(key: str, words: Sequence[Word]) -> InvalidControl:
    shown = ", ".join(dict.fromkeys(repr(word.text) for word in words[:SHOWN_WORDS])) or "none"
    more = ", ..." if len(words) > SHOWN_WORDS else ""
    return InvalidControl(
        f"emphasis of {key!r}: the query does not have {normalize(key)!r}; its words are {shown}{more}",
        param="emphasis",
    )
