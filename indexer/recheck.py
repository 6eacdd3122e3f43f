"""Recompute the hashes of stored documents, without a model, so that `verify` can compare them with the stored ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.passages import passage_controls
from core.records import CollectionSettings, Document, Passage
from indexer.drafting import content_sha, passage_sha

MAX_TITLE = 2_000  # characters; passages of documents with a longer title are not checked


def recheck(
    settings: CollectionSettings,
    document: Document,
    language: str,
    stored_sha: bytes,
    passages: Sequence[tuple[Passage, bytes]],
) -> str | None:
    """What is wrong with the hashes of a document and its passages; None if nothing is.

    `stored_sha` is the document's content hash; `passages` come with their own. In the passages' prompts a long title
    is truncated at a token boundary that only the model knows, so any prefix of it is accepted that fits all passages.
    """
    if content_sha(document, language, settings) != stored_sha:
        return "its title, text, controls and language are not those that its hash was made of"
    if len(document.title) > MAX_TITLE or not passages:
        return None

    def fits(title: str, passage: Passage, sha: bytes) -> bool:
        text = document.text[passage.start : passage.end]
        controls = passage_controls(document.controls, passage.start, text)
        return passage_sha(title, text, language, settings, controls) == sha

    title = next((title for title in _prompt_titles(document.title, settings) if fits(title, *passages[0])), None)
    wrong = [number for number, item in enumerate(passages, start=1) if title is None or not fits(title, *item)]
    return f"passage {wrong[0]}: its text is not the one that its hash was made of" if wrong else None


def _prompt_titles(title: str, settings: CollectionSettings) -> Iterator[str]:
    """The titles that a passage's prompt may have, the longest first: see core.passages.prompt_title."""
    title = title.strip()
    yield title
    if not settings.whole_documents:
        yield from (title[:length].rstrip() for length in range(len(title) - 1, 0, -1))
