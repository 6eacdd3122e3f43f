"""Splits a prompt into the parts that are suppressed one by one, and suppresses them with controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import regex

from core.errors import InvalidInput
from core.prompts import (
    ImageControl,
    ImageItem,
    Prompt,
    PromptItem,
    TextControl,
    TextItem,
    TokenControl,
    TokenIdsItem,
    TokenOverlap,
)
from core.records import Int64Array
from embedder.explaining.request import ExplanationRequest, Granularity
from embedder.lexical.detection import detect
from embedder.lexical.sentences import sentence_ends, without_space

MAX_UNITS = 1000
AUTOMATIC_UNITS = 30
_TILES = {Granularity.TOKEN: 12, Granularity.WORD: 6, Granularity.SENTENCE: 3}  # per side; else 1
_AUTOMATIC = (Granularity.PARAGRAPH, Granularity.SENTENCE, Granularity.WORD, Granularity.TOKEN)  # ties: the coarser
_CJK = r"[\p{Han}\p{Hiragana}\p{Katakana}\u30FC]"
_WORD = regex.compile(rf"{_CJK}[^\s\p{{L}}\p{{N}}]*|(?:(?!{_CJK})\S)+")
_BLANK_LINE = regex.compile(r"(?:\r\n|\r|\n)[^\S\r\n]*(?:\r\n|\r|\n)\s*")

Spans = list[tuple[int, int]]  # start and end of parts of a text, ascending, not overlapping
TokenSpans = Callable[[str], Int64Array]  # maps a text to the (tokens, 2) character spans of its tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class SpanUnit:
    """A part of a text item."""

    item: int  # index in the prompt
    start: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenUnit:
    """A token of a token-ids item."""

    item: int
    index: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TileUnit:
    """A rectangle of an image item, in fractions of the entire image (0 to 1)."""

    item: int
    left: float
    top: float
    width: float
    height: float


Unit = SpanUnit | TokenUnit | TileUnit


def prompt_units(request: ExplanationRequest, token_spans: TokenSpans) -> tuple[Granularity, list[Unit]]:
    """The requested granularity (None: the one whose number of units comes closest to 30) and the prompt's units.

    The units are in the order of the prompt. Raises InvalidInput if there are none, or more than MAX_UNITS.
    """
    prompt, delimiter = request.prompt, request.delimiter
    if request.granularity is not None:
        granularity, units = request.granularity, _units(prompt, request.granularity, delimiter, token_spans)
    else:
        found = {granularity: _units(prompt, granularity, delimiter, token_spans) for granularity in _AUTOMATIC}
        granularity = min(found, key=lambda g: abs(len(found[g]) - AUTOMATIC_UNITS))
        units = found[granularity]
    if not units:
        raise InvalidInput("the prompt has nothing to explain by: it is empty, or white space only", param="prompt")
    if len(units) > MAX_UNITS:
        raise InvalidInput(
            f"the prompt has {len(units)} parts at the granularity {granularity}: at most {MAX_UNITS} are allowed; "
            "choose a coarser one, or a shorter prompt",
            param="prompt_granularity",
        )
    return granularity, units


def suppressed(prompt: Prompt, unit: Unit, request: ExplanationRequest, token_spans: TokenSpans) -> Prompt:
    """The prompt with one more control, which suppresses the unit."""
    item, factor = prompt.items[unit.item], request.control_factor
    changed: PromptItem
    match item, unit:
        case TextItem(), SpanUnit():
            changed = suppressed_text(item, unit.start, unit.end, request, token_spans)
        case TokenIdsItem(), TokenUnit():
            changed = replace(item, controls=(*item.controls, TokenControl(index=unit.index, factor=factor)))
        case ImageItem(), TileUnit():
            tile = ImageControl(
                left=unit.left,
                top=unit.top,
                width=unit.width,
                height=unit.height,
                factor=factor,
                token_overlap=request.token_overlap,
            )
            changed = replace(item, controls=(*item.controls, tile))
        case _:
            raise ValueError(f"{unit} is no part of {item}")
    return Prompt(items=(*prompt.items[: unit.item], changed, *prompt.items[unit.item + 1 :]))


def suppressed_text(
    item: TextItem, start: int, end: int, request: ExplanationRequest, token_spans: TokenSpans
) -> TextItem:
    """The text with one more control, on a span.

    With complete overlap the span is extended to the borders of the tokens it touches. A control with complete overlap
    would not do: only the strongest of them acts on a token, but this one has to multiply with those already there.
    """
    if request.token_overlap is TokenOverlap.COMPLETE:
        spans = token_spans(item.text)
        near = spans[(spans[:, 0] < end) & (spans[:, 1] > start)]
        touched = [(s, e) for s, e in trimmed(item.text, near) if s < end and e > start]
        start = min([start, *(s for s, _ in touched)])
        end = max([end, *(e for _, e in touched)])
    control = TextControl(start=start, length=end - start, factor=request.control_factor)
    return replace(item, controls=(*item.controls, control))


def trimmed(text: str, spans: Int64Array) -> Spans:
    """The spans without white space at their ends; empty spans are left out and overlapping ones merged."""
    found: Spans = []
    for start, end in _stripped(text, ((int(start), int(end)) for start, end in spans)):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _units(prompt: Prompt, granularity: Granularity, delimiter: str | None, token_spans: TokenSpans) -> list[Unit]:
    units: list[Unit] = []
    for index, item in enumerate(prompt.items):
        match item:
            case TextItem(text=text):
                spans = _text_spans(text, granularity, delimiter, token_spans)
                units += [SpanUnit(item=index, start=start, end=end) for start, end in spans]
            case TokenIdsItem(ids=ids):
                units += [TokenUnit(item=index, index=i) for i in range(len(ids))]
            case ImageItem():
                units += _tiles(index, _TILES.get(granularity, 1))
    return units


def _text_spans(text: str, granularity: Granularity, delimiter: str | None, token_spans: TokenSpans) -> Spans:
    match granularity:
        case Granularity.TOKEN:
            return trimmed(text, token_spans(text))
        case Granularity.WORD:
            return [match.span() for match in _WORD.finditer(text)]
        case Granularity.SENTENCE:
            ends = [0, *sentence_ends(text, detect(text) or "en")]
            return list(_stripped(text, pairwise(ends)))
        case Granularity.PARAGRAPH:
            gaps = [match.span() for match in _BLANK_LINE.finditer(text)]
            return list(_stripped(text, _between(gaps, len(text))))
        case Granularity.CUSTOM:
            gaps = [match.span() for match in regex.finditer(regex.escape(delimiter or ""), text)]
            return [(start, end) for start, end in _between(gaps, len(text)) if text[start:end].strip()]


def _between(gaps: Spans, length: int) -> Iterator[tuple[int, int]]:
    """The spans between the gaps of a text of `length` characters."""
    starts = [0, *(end for _, end in gaps)]
    ends = [*(start for start, _ in gaps), length]
    return zip(starts, ends, strict=True)


def _stripped(text: str, spans: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    return (found for start, end in spans if (found := without_space(text, start, end)) is not None)


def _tiles(item: int, side: int) -> list[Unit]:
    share = 1 / side
    return [
        TileUnit(item=item, left=column / side, top=row / side, width=share, height=share)
        for row in range(side)
        for column in range(side)
    ]
