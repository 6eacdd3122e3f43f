"""Builds the prompt that is embedded for a passage. Indexing and explaining share this code to get the same prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from core.prompts import Prompt, TextControl
from core.protocols import Encoder
from core.records import CollectionSettings, Int64Array, Representation

MAX_TITLE_WEIGHT = 10
TITLE_SHARE = 3  # a title gets at most a third of the budget, which leaves room for text


def prompt_budget(settings: CollectionSettings, encoder: Encoder) -> int:
    """Maximum tokens of a passage's title and text together, at least 1. Special tokens and prefix are not counted."""
    room = encoder.max_tokens - encoder.overhead(Representation.DOCUMENT)
    return max(1, room if settings.passage_tokens is None else min(room, settings.passage_tokens))


def prompt_title(title: str, settings: CollectionSettings, encoder: Encoder) -> str:
    """The title that precedes every passage of its document: stripped of white space, and cut if it is long.

    In a collection of whole documents it is not cut; there the model cuts the whole prompt if it does not fit.
    """
    return title_and_room(title, settings, encoder)[0]


def title_and_room(title: str, settings: CollectionSettings, encoder: Encoder) -> tuple[str, int]:
    """`prompt_title`, and the tokens that it leaves to a passage's text, at least 1."""
    title = title.strip()
    budget = prompt_budget(settings, encoder)
    if settings.whole_documents or not title:
        return title, budget
    spans = encoder.token_spans(title)
    allowed = max(1, budget // TITLE_SHARE)
    if len(spans) > allowed:
        title = title[: int(spans[allowed - 1, 1])].rstrip()
        spans = encoder.token_spans(title)  # cut, it may have others
    return title, max(1, budget - len(spans))


def passage_prompt(title: str, text: str) -> str:
    """The text that is embedded and analysed for a passage: the title (from `prompt_title`), a space, and the text."""
    return f"{title} {text}" if title and text else title or text


def document_prompt(title: str, text: str, controls: Sequence[TextControl]) -> Prompt:
    """The prompt of a passage: `passage_prompt` without the parts that its controls leave out, with the other controls.

    `controls`: on spans of the passage's `text`, ordered by start; the title has none.
    """
    said = kept_text(text, controls)
    return Prompt.of(passage_prompt(title, said.text), said.shifted(text_offset(title)))


def passage_controls(controls: Sequence[TextControl], start: int, text: str) -> tuple[TextControl, ...]:
    """The parts of a document's controls within its passage `text`, which begins at `start`, in the passage's offsets.

    Controls without effect are left out: those with a factor of 1, and those that cover only white space here.
    """
    found = []
    for control in controls:
        first, last = max(control.start - start, 0), min(control.end - start, len(text))
        if control.factor != 1 and first < last and text[first:last].strip():
            found.append(replace(control, start=first, length=last - first))
    return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptText:
    """A text without the parts that a factor of 0 leaves out: the parts that are kept are joined by single spaces."""

    text: str
    controls: tuple[TextControl, ...]  # the other controls, on spans of `text`
    starts: tuple[int, ...]  # where each kept part begins in `text`
    origins: tuple[int, ...]  # where each kept part begins in the original text

    @property
    def parts(self) -> list[str]:
        """The kept parts, in order."""
        ends = (*(start - 1 for start in self.starts[1:]), len(self.text))
        return [self.text[start:end] for start, end in zip(self.starts, ends, strict=False)]  # `starts` may be empty

    def shifted(self, offset: int) -> tuple[TextControl, ...]:
        """The controls shifted by `offset` characters, for a text that is preceded by so many."""
        return tuple(replace(control, start=control.start + offset) for control in self.controls)

    def origin(self, spans: Int64Array) -> Int64Array:
        """(spans, 2) the spans of the original text for spans of `text`; a span across a gap includes the gap."""
        starts, origins = np.array(self.starts, dtype=np.int64), np.array(self.origins, dtype=np.int64)
        parts = starts.searchsorted(spans - np.array([0, 1]), side="right") - 1  # of each first and last character
        whole: Int64Array = spans + (origins - starts)[parts]
        return whole


def kept_text(text: str, controls: Sequence[TextControl]) -> KeptText:
    """`text` without the parts that have a factor of 0. `controls`: on spans of `text`, ordered by start."""
    parts, place = [], 0
    for control in controls:
        if control.factor == 0:
            parts.append((place, control.start))
            place = max(place, control.end)
    parts = [(start, end) for start, end in (*parts, (place, len(text))) if start < end]
    kept = [text[start:end] for start, end in parts]
    starts = tuple(accumulate((len(part) + 1 for part in kept[:-1]), initial=0))[: len(kept)]
    others = [control for control in controls if control.factor != 0]
    placed = [
        replace(control, start=control.start + start)
        for (origin, _), part, start in zip(parts, kept, starts, strict=True)
        for control in passage_controls(others, origin, part)
    ]
    return KeptText(
        text=" ".join(kept), controls=tuple(placed), starts=starts, origins=tuple(origin for origin, _ in parts)
    )


def text_offset(title: str) -> int:
    """The offset of the passage's text in its prompt, in characters."""
    return len(title) + 1 if title else 0
