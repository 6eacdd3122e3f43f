"""Turn documents into drafts: detect the language, split into passages, and compute the hashes that show changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np

from core.errors import InvalidDocument
from core.passages import (
    document_prompt,
    heard,
    passage_controls,
    prompt_budget,
    prompt_title,
)
from core.prompts import Prompt, TextControl, TextItem
from core.protocols import Encoder
from core.records import CollectionSettings, Document, Passage
from embedder.factors import span_factors
from embedder.lexical import Analyzer
from indexer.records import RecordError
from indexer.splitter import split
from store.batch import Draft, DraftPassage
from store.controls import pack_controls
from store.filters.metadata import filterable_values, metadata_json
from store.terms import FREQUENCY_STEP


class Drafter:
    """Splits documents according to the collection's settings and the encoder's token budget."""

    def __init__(self, settings: CollectionSettings, encoder: Encoder, analyzer: Analyzer) -> None:
        self._settings = settings
        self._encoder = encoder
        self._analyzer = analyzer

    def problem(self, document: Document) -> RecordError | None:
        """Why the document cannot be stored, or None."""
        try:
            metadata_json(document)
            filterable_values(document, self._settings.fields)
        except InvalidDocument as error:
            shown = document.id.encode("utf-8", "replace").decode()  # the fault may be in the id itself
            return RecordError(code=error.code, reason=error.message, id=shown)
        if not document.text.strip() and not document.title.strip():
            return RecordError(code=InvalidDocument.code, reason="neither text nor title", id=document.id)
        if not heard(document.text, document.controls).text.strip() and not document.title.strip():
            reason = "its controls suppress all of its text, and it has no title: nothing is left to find it by"
            return RecordError(code=InvalidDocument.code, reason=reason, id=document.id)
        return None

    def outline(self, document: Document) -> Draft:
        """The draft without passages: cheap, and enough to tell whether the stored document has changed."""
        sample = f"{document.title} {heard(document.text, document.controls).text[:2000]}"
        language = self._analyzer.language_of(sample, self._settings.language)
        sha = content_sha(document, language, self._settings)
        return Draft(document=document, language=language, content_sha=sha, passages=())

    def complete(self, outline: Draft) -> Draft:
        """The outline with its passages. If only the title counts, there is one passage with an empty span."""
        document, language = outline.document, outline.language
        title = prompt_title(document.title, self._settings, self._encoder)
        passages = []
        for passage in self._passages(document, title, language):
            text, controls = _part(document, passage)
            if controls and not heard(text, controls).text.strip():
                continue  # nothing but the title would be left of it
            sha = passage_sha(title, text, language, self._settings, controls)
            passages.append(DraftPassage(passage=passage, sha=sha))
        if not passages:  # only the title counts
            alone = Passage(start=0, end=0, fresh=0)
            passages = [DraftPassage(passage=alone, sha=passage_sha(title, "", language, self._settings))]
        return replace(outline, passages=tuple(passages))

    def terms(self, draft: Draft, wanted: AbstractSet[bytes]) -> dict[bytes, Mapping[str, float]]:
        """BM25 term frequencies, weighted by the controls' factors, of the passages whose hashes are in `wanted`."""
        found: dict[bytes, Mapping[str, float]] = {}
        passages = {item.sha: item.passage for item in draft.passages if item.sha in wanted}
        if not passages:
            return found
        title = prompt_title(draft.document.title, self._settings, self._encoder)
        again = self._settings.title_weight - 1  # the prompt already holds the title once
        titled = self._analyzer.term_frequencies(title, draft.language) if again and title else {}
        for sha, passage in passages.items():
            prompt = document_prompt(title, *_part(draft.document, passage))
            counts = self._counts(prompt, draft.language)
            for term, count in titled.items():
                counts[term] = counts.get(term, 0) + again * count
            found[sha] = {term: count for term, count in counts.items() if count > 0}
        return found

    def prompts(self, draft: Draft) -> dict[bytes, Prompt]:
        """The prompts to embed, keyed by passage hash."""
        title = prompt_title(draft.document.title, self._settings, self._encoder)
        return {item.sha: document_prompt(title, *_part(draft.document, item.passage)) for item in draft.passages}

    def _counts(self, prompt: Prompt, language: str) -> dict[str, float]:
        """Weighted frequency of each term of a single-text prompt: each occurrence counts by its factor."""
        item = _item(prompt)
        if not item.controls:
            return dict(self._analyzer.term_frequencies(item.text, language))
        terms = self._analyzer.analyze(item.text, language)
        spans = np.array([(term.start, term.end) for term in terms], dtype=np.int64).reshape(-1, 2)
        counts: dict[str, float] = {}
        for term, factor in zip(terms, span_factors(item.text, item.controls, spans).tolist(), strict=True):
            counts[term.text] = counts.get(term.text, 0.0) + factor
        return {term: round(count / FREQUENCY_STEP) * FREQUENCY_STEP for term, count in counts.items()}

    def _passages(self, document: Document, title: str, language: str) -> list[Passage]:
        text = document.text
        if self._settings.whole_documents or not text.strip():
            return [Passage(start=0, end=len(text), fresh=0)]  # the empty span if there is only a title
        spans = self._encoder.token_spans(text)
        if document.controls:
            spans = spans[span_factors(text, document.controls, spans) > 0]  # suppressed tokens use up no budget
        titled = len(self._encoder.token_spans(title)) if title else 0
        budget = max(1, prompt_budget(self._settings, self._encoder) - titled)
        return split(text, spans, budget=budget, overlap=self._settings.overlap_tokens, language=language)


def content_sha(document: Document, language: str, settings: CollectionSettings) -> bytes:
    """SHA-256 of everything that a document's passages depend on, except the encoder.

    Changing what is hashed, here or in `passage_sha`, would make every stored document look changed, and look damaged
    to `verify`.
    """
    splitting = json.dumps([settings.passage_tokens, settings.overlap_tokens, settings.whole_documents])
    controlled = _controlled(document.controls)
    return _sha(language, document.title, document.text, splitting, *_weighing(settings), *controlled)


def passage_sha(
    title: str, text: str, language: str, settings: CollectionSettings, controls: Sequence[TextControl] = ()
) -> bytes:
    """SHA-256 of everything that a passage's embedding depends on, except the models.

    `title` is the one in the passage's prompt; `controls` are the passage's own, on spans of `text`.
    """
    weighing = [*_weighing(settings), title] if title and _weighing(settings) else []  # tells which part is weighted
    item = _item(document_prompt(title, text, controls))
    return _sha(language, item.text, *weighing, *_controlled(item.controls))


def _part(document: Document, passage: Passage) -> tuple[str, tuple[TextControl, ...]]:
    """A passage's text and the controls on it."""
    text = document.text[passage.start : passage.end]
    return text, passage_controls(document.controls, passage.start, text)


def _weighing(settings: CollectionSettings) -> list[str]:
    """The title weight as part of a hash; empty for weight 1, so that hashes from before weights existed stay valid."""
    return [] if settings.title_weight == 1 else [f"title_weight {settings.title_weight}"]


def _item(prompt: Prompt) -> TextItem:
    """The only item of a document's prompt."""
    [item] = prompt.items
    assert isinstance(item, TextItem)
    return item


def _controlled(controls: Iterable[TextControl]) -> list[str]:
    """The controls as part of a hash; empty without any, so that hashes from before controls existed stay valid."""
    packed = pack_controls(controls)
    return [] if packed is None else [f"controls {packed}"]


def _sha(*parts: str) -> bytes:
    """SHA-256 of the parts as a JSON list, so that the borders between them count, too."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).digest()
