"""Turn documents into drafts: detect the language, split into passages, and compute the hashes that show changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import numpy as np

from core.errors import InvalidDocument
from core.passages import (
    document_prompt,
    kept_text,
    passage_controls,
    text_offset,
    title_and_room,
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
from store.filters.metadata import StoredMetadata
from store.terms import FREQUENCY_STEP


@dataclass(frozen=True, kw_only=True, slots=True)
class Drafted:
    """A draft, and what its models and the lexical analysis are to read of it."""

    draft: Draft
    title: str = ""  # as it stands before every passage
    prompts: Mapping[bytes, Prompt] = field(default_factory=dict)  # by the passages' hashes


def refusal(document: Document, error: InvalidDocument) -> RecordError:
    """What `Drafter.outline` raised, for a report."""
    shown = document.id.encode("utf-8", "replace").decode()  # the fault may be in the id itself
    return RecordError(code=error.code, reason=error.message, id=shown)


class Drafter:
    """Splits documents according to the collection's settings and the encoder's token budget."""

    def __init__(self, settings: CollectionSettings, encoder: Encoder, analyzer: Analyzer) -> None:
        self._settings = settings
        self._encoder = encoder
        self._analyzer = analyzer

    def outline(self, document: Document) -> Draft:
        """The draft without passages: cheap, and enough to tell whether the stored document has changed.

        Raises InvalidDocument for a document that cannot be stored.
        """
        metadata = StoredMetadata.of(document, self._settings.fields)
        said = kept_text(document.text, document.controls).text
        if not document.title.strip() and not said.strip():
            raise InvalidDocument(
                "its controls suppress all of its text, and it has no title: nothing is left to find it by"
                if document.text.strip()
                else "neither text nor title"
            )
        language = self._analyzer.language_of(f"{document.title} {said[:2000]}", self._settings.language)
        sha = content_sha(document, language, self._settings)
        return Draft(document=document, metadata=metadata, language=language, content_sha=sha, passages=())

    def complete(self, outline: Draft) -> Drafted:
        """The outline with its passages. If only the title counts, there is one passage with an empty span."""
        document, language = outline.document, outline.language
        title, room = title_and_room(document.title, self._settings, self._encoder)
        found = [(passage, _prompt(title, document, passage)) for passage in self._passages(document, room, language)]
        if document.controls:  # a passage without text of its own would hold nothing but the title
            found = [(passage, prompt) for passage, prompt in found if _item(prompt).text[text_offset(title) :].strip()]
        if not found:  # only the title counts
            alone = Passage(start=0, end=0, fresh=0)
            found = [(alone, _prompt(title, document, alone))]
        passages, prompts = [], {}
        for passage, prompt in found:
            sha = _prompt_sha(prompt, title, language, self._settings)
            passages.append(DraftPassage(passage=passage, sha=sha))
            prompts[sha] = prompt
        return Drafted(draft=replace(outline, passages=tuple(passages)), title=title, prompts=prompts)

    def terms(self, drafted: Drafted, wanted: AbstractSet[bytes]) -> dict[bytes, Mapping[str, float]]:
        """BM25 term frequencies, weighted by the controls' factors, of the passages whose hashes are in `wanted`."""
        found: dict[bytes, Mapping[str, float]] = {}
        prompts = {sha: prompt for sha, prompt in drafted.prompts.items() if sha in wanted}
        if not prompts:
            return found
        title, language = drafted.title, drafted.draft.language
        again = self._settings.title_weight - 1  # beside the title that the prompt holds
        titled = self._analyzer.term_frequencies(title, language) if again and title else {}
        for sha, prompt in prompts.items():
            counts = self._counts(prompt, language)
            for term, count in titled.items():
                counts[term] = counts.get(term, 0) + again * count
            found[sha] = {term: count for term, count in counts.items() if count > 0}
        return found

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

    def _passages(self, document: Document, room: int, language: str) -> list[Passage]:
        """`room`: tokens of each at most."""
        text = document.text
        if self._settings.whole_documents or not text.strip():
            return [Passage(start=0, end=len(text), fresh=0)]  # the empty span if there is only a title
        spans = self._encoder.token_spans(text)
        if document.controls:
            spans = spans[span_factors(text, document.controls, spans) > 0]  # what is left out takes no room
        return split(text, spans, budget=room, overlap=self._settings.overlap_tokens, language=language)


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
    return _prompt_sha(document_prompt(title, text, controls), title, language, settings)


def _prompt_sha(prompt: Prompt, title: str, language: str, settings: CollectionSettings) -> bytes:
    weighing = [*_weighing(settings), title] if title and _weighing(settings) else []  # which part is weighed
    item = _item(prompt)
    return _sha(language, item.text, *weighing, *_controlled(item.controls))


def _prompt(title: str, document: Document, passage: Passage) -> Prompt:
    text = document.text[passage.start : passage.end]
    return document_prompt(title, text, passage_controls(document.controls, passage.start, text))


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
