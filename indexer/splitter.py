"""Split a text into passages of whole sentences up to a budget of model tokens, each repeating the previous one's end.

Borders are searched level by level: sentences; for a sentence over the budget its lines and the sentences inside its
quotes and brackets; then words; then grapheme clusters; then tokens. Each level splits only what is still too long. A
border is never inside a token, and white space belongs to the text before it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator

import numpy as np
import regex

from core.records import BoolArray, Int64Array, Passage
from embedder.lexical.sentences import sentence_ends

_SHORT = 0.25  # a last passage under this share of the budget is balanced with the one before
_SPACES = np.array([code for code in range(0x3001) if chr(code).isspace()], np.uint32)
_ENCLOSING = dict.fromkeys(map(ord, "\"'()[]{}“”„‟‘’‚‛«»‹›「」『』《》（）【】"), " ")
_CJK = r"[\p{Han}\p{Hiragana}\p{Katakana}]"
_WORD_BORDER = regex.compile(rf"(?<=\s)(?=\S)|(?<={_CJK})(?=\S)|(?<=\S)(?={_CJK})")
_LINE_BORDER = regex.compile(r"(?<=\n)(?=\S)|(?<=\n)(?=[ \t]+\S)")
_GRAPHEME = regex.compile(r"\X")

Borders = Callable[[str, int, int], Iterator[int]]  # text, start, end -> positions in the whole text, ascending


def split(text: str, token_spans: Int64Array, *, budget: int, overlap: int, language: str) -> list[Passage]:
    """Passages of at most `budget` tokens that tile `text`: joining text[p.fresh:p.end] gives it back.

    token_spans: (tokens, 2) character spans of the model's tokens, in order. A passage repeats at most `overlap` tokens
    (and at most half the budget) of the one before: whole sentences where they fit, else words. A passage may exceed
    the budget in two cases: by white space at its end, where white space costs tokens; and by a single character for
    which the model makes more tokens than the budget. `language` (ISO 639-1) selects the sentence rules. A text of
    white space only has no passages. Raises ValueError unless budget >= 1 and overlap >= 0.
    """
    if budget < 1 or overlap < 0:
        raise ValueError(f"budget {budget}, overlap {overlap}: must be at least 1 and 0")
    if not text.strip():
        return []
    if len(token_spans) <= budget:
        return [Passage(start=0, end=len(text), fresh=0)]
    ruler = _Ruler(text, token_spans)
    borders = _borders(text, ruler, budget, language)
    return _Packer(borders, ruler.before(borders), budget, min(overlap, budget // 2), text, ruler).passages()


class _Ruler:
    """Counts tokens between character positions, and tells where a text may be cut."""

    def __init__(self, text: str, token_spans: Int64Array) -> None:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        space = np.isin(codes, _SPACES)
        self.length = len(text)
        self._solid = _next_solid(space)
        starts, ends = _trimmed(token_spans, space, self._solid)
        self._starts = np.maximum.accumulate(starts)
        self._reach = np.maximum.accumulate(ends)

    def before(self, positions: Int64Array) -> Int64Array:
        """(positions,) the number of tokens that start before each position."""
        counts: Int64Array = np.searchsorted(self._starts, positions, side="left").astype(np.int64)
        return counts

    def count(self, start: int, end: int) -> int:
        """The number of tokens that start from `start` up to, but not including, `end`."""
        first, last = self.before(np.array([start, end]))
        return int(last - first)

    def token_starts(self, start: int, end: int) -> Int64Array:
        """The starts of those tokens, ascending."""
        first, last = np.searchsorted(self._starts, [start, end])
        return self._starts[first:last]

    def legal(self, positions: Int64Array) -> Int64Array:
        """The positions, moved past white space, without the text's ends and those inside a token; sorted, unique."""
        moved = np.unique(self._solid[positions])
        moved = moved[(moved > 0) & (moved < self.length)]
        reach = np.concatenate([[0], self._reach])[self.before(moved)]
        # before a cut right after the leading white space there is no text for a passage
        cuts: Int64Array = moved[(reach <= moved) & (moved > self._solid[0])]
        return cuts


def _next_solid(space: BoolArray) -> Int64Array:
    """(characters + 1,) the first position at or after each that is not white space; the length if there is none."""
    positions = np.where(space, len(space), np.arange(len(space)))
    return np.append(np.minimum.accumulate(positions[::-1])[::-1], len(space)).astype(np.int64)


def _trimmed(token_spans: Int64Array, space: BoolArray, solid: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Token starts and ends without the white space that some tokenizers include; tokens of only white space stay."""
    starts, ends = token_spans[:, 0], token_spans[:, 1]
    last_solid = np.maximum.accumulate(np.where(space, -1, np.arange(len(space))))
    trimmed_starts = solid[starts]
    white = trimmed_starts >= ends
    trimmed_ends = last_solid[np.maximum(ends - 1, 0)] + 1
    return np.where(white, starts, trimmed_starts), np.where(white, ends, trimmed_ends)


def _borders(text: str, ruler: _Ruler, budget: int, language: str) -> Int64Array:
    """Ascending positions from 0 to the text's end, with at most `budget` tokens between neighbours where possible."""
    levels: tuple[Borders, ...] = (
        lambda text, start, end: _sentences(text[start:end], start, language),
        lambda text, start, end: _inner_sentences(text, start, end, language),
        lambda text, start, end: _matches(_WORD_BORDER, text, start, end),
        lambda text, start, end: _matches(_GRAPHEME, text, start, end),
        lambda text, start, end: iter(ruler.token_starts(start, end).tolist()),
    )
    borders = np.array([0, len(text)], np.int64)
    for level, find in enumerate(levels):
        over = np.flatnonzero(np.diff(ruler.before(borders)) > budget)
        if not len(over):
            break
        found = [position for i in over for position in find(text, int(borders[i]), int(borders[i + 1]))]
        if level < len(levels) - 1:
            found = [position for position in found if not _continues(text, position)]
        borders = np.union1d(borders, ruler.legal(np.array(found, np.int64)))
    return borders


def _sentences(text: str, offset: int, language: str) -> Iterator[int]:
    for end in sentence_ends(text, language):
        yield offset + end


def _inner_sentences(text: str, start: int, end: int, language: str) -> Iterator[int]:
    """Line borders, and sentence borders ignoring quotes and brackets: an unclosed one would hide all that follow."""
    yield from _matches(_LINE_BORDER, text, start, end)
    yield from _sentences(text[start:end].translate(_ENCLOSING), start, language)


def _matches(pattern: regex.Pattern[str], text: str, start: int, end: int) -> Iterator[int]:
    return (match.start() for match in pattern.finditer(text, start, end))


def _continues(text: str, position: int) -> bool:
    """Whether the character continues the grapheme cluster before it: a mark, joiner, joined character or skin tone."""
    if not 0 < position < len(text):
        return False
    here = text[position]
    return (
        unicodedata.category(here)[0] == "M"
        or here in "\u200d\u200c"
        or text[position - 1] == "\u200d"
        or "\U0001f3fb" <= here <= "\U0001f3ff"
    )


class _Packer:
    """Fills passages with as many units (the text between neighbouring borders) as the budget allows."""

    def __init__(
        self, borders: Int64Array, tokens: Int64Array, budget: int, overlap: int, text: str, ruler: _Ruler
    ) -> None:
        self._borders = borders
        self._tokens = tokens  # (borders,) tokens before each border
        self._budget = budget
        self._overlap = overlap
        self._text = text
        self._ruler = ruler

    def passages(self) -> list[Passage]:
        """The packed passages, in order of the text."""
        passages: list[Passage] = []
        for first, last in self._even(self._packed()):
            start = self._start(first, last, passages[-1].start if passages else 0)
            fresh, end = int(self._borders[first]), int(self._borders[last])
            passages.append(Passage(start=start, end=end, fresh=fresh))
        return passages

    def _packed(self) -> list[tuple[int, int]]:
        """(first, last) border indices of the fresh part of each passage."""
        parts: list[tuple[int, int]] = []
        first = 0
        while first < len(self._borders) - 1:
            repeated = self._tokens[first] - self._ruler.before(np.array([self._start(first, first + 1, 0)]))[0]
            allowed = self._tokens[first] + self._budget - repeated
            last = int(np.searchsorted(self._tokens, allowed, side="right")) - 1
            last = min(max(last, first + 1), len(self._borders) - 1)
            parts.append((first, last))
            first = last
        return parts

    def _even(self, parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """The parts, with the last two made about equal if the last one is short."""
        if len(parts) < 2 or self._size(*parts[-1]) >= _SHORT * self._budget:
            return parts
        (first, _), (_, last) = parts[-2:]
        half = (self._tokens[first] + self._tokens[last]) / 2
        middle = first + 1 + int(np.argmin(np.abs(self._tokens[first + 1 : last] - half)))
        if max(self._size(first, middle), self._size(middle, last)) > self._budget:
            return parts
        return [*parts[:-2], (first, middle), (middle, last)]

    def _start(self, first: int, last: int, lowest: int) -> int:
        """The start of the passage with the fresh units first..last: it repeats what the overlap and budget allow.

        It is never before `lowest`.
        """
        fresh = int(self._borders[first])
        room = min(self._overlap, self._budget - self._size(first, last))
        if first == 0 or room <= 0:
            return fresh
        unit = int(np.searchsorted(self._tokens[: first + 1], self._tokens[first] - room, side="left"))
        if unit < first:
            return max(int(self._borders[unit]), lowest)
        sentence = int(self._borders[first - 1])  # longer than the overlap: repeat its last words
        found = list(_matches(_WORD_BORDER, self._text, sentence, fresh))
        words = self._ruler.legal(np.array(found, np.int64))
        fits = words[self._tokens[first] - self._ruler.before(words) <= room]
        return max(int(fits[0]), lowest) if len(fits) else fresh

    def _size(self, first: int, last: int) -> int:
        return int(self._tokens[last] - self._tokens[first])
