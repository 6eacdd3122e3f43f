"""A document to a draft: its language, its passages, and the hashes that say what is new."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import replace

from core.errors import InvalidDocument
from core.passages import passage_prompt, prompt_budget, prompt_title
from core.protocols import Encoder
from core.records import CollectionSettings, Document, Passage
from embedder.lexical import Analyzer
from indexer.records import RecordError
from indexer.splitter import split
from store.batch import Draft, DraftPassage
from store.filters.metadata import filterable_values, metadata_json


class Drafter:
    """Splits documents as the collection's settings and the encoder's budget say."""

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
        return None

    def outline(self, document: Document) -> Draft:
        """The draft without passages: enough to see whether the stored document is the same, and cheap."""
        sample = f"{document.title} {document.text[:2000]}"
        language = self._analyzer.language_of(sample, self._settings.language)
        sha = content_sha(document, language, self._settings)
        return Draft(document=document, language=language, content_sha=sha, passages=())

    def complete(self, outline: Draft) -> Draft:
        """The outline with its passages."""
        text, language = outline.document.text, outline.language
        title = prompt_title(outline.document.title, self._settings, self._encoder)
        passages = tuple(
            DraftPassage(
                passage=passage, sha=passage_sha(title, text[passage.start : passage.end], language, self._settings)
            )
            for passage in self._passages(text, title, language)
        )
        return replace(outline, passages=passages)

    def terms(self, draft: Draft, wanted: AbstractSet[bytes]) -> dict[bytes, Counter[str]]:
        """How often BM25 counts each term of the passages whose hashes are `wanted`."""
        title = prompt_title(draft.document.title, self._settings, self._encoder)
        again = self._settings.title_weight - 1  # beside the title that the prompt holds
        found = {}
        for sha, prompt in self.prompts(draft).items():
            if sha in wanted:
                counts = self._analyzer.term_frequencies(prompt, draft.language)
                if again and title:
                    for term, count in self._analyzer.term_frequencies(title, draft.language).items():
                        counts[term] += again * count
                found[sha] = +counts  # without what is counted 0 times
        return found

    def prompts(self, draft: Draft) -> dict[bytes, str]:
        """The texts to embed, by the passages' hashes."""
        title = prompt_title(draft.document.title, self._settings, self._encoder)
        return {
            item.sha: passage_prompt(title, draft.document.text[item.passage.start : item.passage.end])
            for item in draft.passages
        }

    def _passages(self, text: str, title: str, language: str) -> list[Passage]:
        if self._settings.whole_documents or not text.strip():
            return [Passage(start=0, end=len(text), fresh=0)]  # of a title alone: the empty span
        spans = self._encoder.token_spans(text)
        titled = len(self._encoder.token_spans(title)) if title else 0
        budget = max(1, prompt_budget(self._settings, self._encoder) - titled)
        return split(text, spans, budget=budget, overlap=self._settings.overlap_tokens, language=language)


def content_sha(document: Document, language: str, settings: CollectionSettings) -> bytes:
    """sha256 of all that a document's passages depend on, but for the encoder.

    Another recipe, here or below, would make every stored document look changed, and to `verify` look damaged.
    """
    splitting = json.dumps([settings.passage_tokens, settings.overlap_tokens, settings.whole_documents])
    return _sha(language, document.title, document.text, splitting, *_weighing(settings))


def passage_sha(title: str, text: str, language: str, settings: CollectionSettings) -> bytes:
    """sha256 of all that a passage's embedding depends on, but for the models. `title`: as in its prompt."""
    weighing = [*_weighing(settings), title] if title and _weighing(settings) else []  # which part is weighed
    return _sha(language, passage_prompt(title, text), *weighing)


def _weighing(settings: CollectionSettings) -> list[str]:
    """Nothing where a title counts once, as it did before there were weights: hashes of then still hold."""
    return [] if settings.title_weight == 1 else [f"title_weight {settings.title_weight}"]


def _sha(*parts: str) -> bytes:
    """Of the parts and the borders between them."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).digest()
