"""What is embedded of a passage. Indexing and explaining build the very same prompt, so the rule stands here once."""

from __future__ import annotations

from core.protocols import Encoder
from core.records import CollectionSettings, Representation

MAX_TITLE_WEIGHT = 10
TITLE_SHARE = 3  # a title gets at most the third part of the budget, so that text remains beside it


def prompt_budget(settings: CollectionSettings, encoder: Encoder) -> int:
    """Tokens that title and text of a passage may have together, at least 1: without special tokens and prefix."""
    room = encoder.max_tokens - encoder.overhead(Representation.DOCUMENT)
    return max(1, room if settings.passage_tokens is None else min(room, settings.passage_tokens))


def prompt_title(title: str, settings: CollectionSettings, encoder: Encoder) -> str:
    """The title as it stands before every passage of its document: without outer white space, a long one cut.

    In a collection of whole documents it stays whole: there the model cuts what does not fit.
    """
    title = title.strip()
    if settings.whole_documents or not title:
        return title
    spans = encoder.token_spans(title)
    allowed = max(1, prompt_budget(settings, encoder) // TITLE_SHARE)
    return title if len(spans) <= allowed else title[: int(spans[allowed - 1, 1])].rstrip()


def passage_prompt(title: str, text: str) -> str:
    """What is embedded and analysed for a passage: `prompt_title`'s title, a space, the passage's text."""
    return f"{title} {text}" if title and text else title or text


def text_offset(title: str) -> int:
    """Where the passage's text begins in its prompt, in characters."""
    return len(title) + 1 if title else 0
