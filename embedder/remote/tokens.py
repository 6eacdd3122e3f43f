"""Counts the tokens of remote models, by the model's tokenizer.json if configured, else by an estimate."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from core.errors import ModelError
from core.prompts import ImageItem, Prompt, PromptItem, TextItem, TokenIdsItem
from core.records import Int64Array
from embedder.remote.config import RemoteConfig

SPECIAL_TOKENS = 2  # that models usually add: one at the beginning, one at the end
_PIECE = re.compile(r"[A-Z]{2}|[A-Za-z][a-z]{0,2}|\S")
_LAST_OF_PLANE_0 = 0xFFFF


class TokenCounter(Protocol):
    """Finds the tokens of a text, and knows how many special tokens the model adds."""

    special_tokens: int

    def spans(self, text: str) -> Int64Array:
        """(tokens, 2) character spans of the tokens, in order."""
        ...


class EstimatedTokens:
    """An estimate on the safe side: one token for up to three letters, and for every other visible character.

    A character that compatibility normalisation expands counts as its parts (an ellipsis as three), and a character
    beyond the basic plane (an emoji) counts one more. Of 11,000 English and Chinese texts of 200 to 1,500 characters,
    99.9 % have at most 1.02 times as many tokens as estimated in WordPiece (all-MiniLM-L6-v2) and SentencePiece
    (multilingual-e5-small), on average .54 to .96 times. Byte-level vocabularies can exceed the estimate on scripts
    that they hardly cover.
    """

    special_tokens = SPECIAL_TOKENS

    def spans(self, text: str) -> Int64Array:
        pieces = [(match.start(), match.end()) for match in _PIECE.finditer(text) for _ in range(_weight(match[0]))]
        return np.array(pieces, dtype=np.int64).reshape(-1, 2)


def load_counter(config: RemoteConfig) -> TokenCounter:
    """A counter with the configured tokenizer, or an estimate without one. Raises ModelError for an unusable file."""
    return EstimatedTokens() if config.tokenizer is None else _FileTokens(config.tokenizer, config.max_tokens)


def fitted(prompt: Prompt, budget: int, counter: TokenCounter) -> tuple[Prompt, int, bool]:
    """The prompt cut to `budget` tokens, its number of tokens, and whether any were cut off. Images count as 0."""
    items: list[PromptItem] = []
    used, cut = 0, False
    for item in prompt.items:
        part, size, whole = _fitted_item(item, budget - used, counter)
        used, cut = used + size, cut or not whole
        if size or whole:  # items after the cut are dropped
            items.append(part)
    return (replace(prompt, items=tuple(items)) if cut else prompt), used, cut


def _fitted_item(item: PromptItem, room: int, counter: TokenCounter) -> tuple[PromptItem, int, bool]:
    """The item cut to `room` tokens, its number of tokens, and whether it is whole."""
    match item:
        case TextItem():
            spans = counter.spans(item.text)
            if len(spans) <= room:
                return item, len(spans), True
            end = int(spans[room - 1, 1]) if room > 0 else 0
            kept = tuple(
                c for c in item.controls if c.start < end and not item.text[c.start : min(c.end, end)].isspace()
            )
            return TextItem(text=item.text[:end], controls=kept), room, False
        case TokenIdsItem():
            if len(item.ids) <= room:
                return item, len(item.ids), True
            controls = tuple(control for control in item.controls if control.index < room)
            return TokenIdsItem(ids=item.ids[:room], controls=controls), room, False
        case ImageItem():
            return item, 0, True


def batches(
    tokens: Sequence[int], sizes: Sequence[int], *, items: int, tokens_each: int, bytes_each: int
) -> list[range]:
    """Consecutive prompts in batches within the limits on prompts, tokens and bytes.

    `tokens`, `sizes`: the tokens and bytes of each prompt. A prompt that exceeds a limit by itself gets its own batch.
    """
    return list(_batches(tokens, sizes, items, tokens_each, bytes_each))


def _batches(
    tokens: Sequence[int], sizes: Sequence[int], items: int, tokens_each: int, bytes_each: int
) -> Iterator[range]:
    start, token_sum, byte_sum = 0, 0, 0
    for index, (count, size) in enumerate(zip(tokens, sizes, strict=True)):
        full = index - start >= items or token_sum + count > tokens_each or byte_sum + size > bytes_each
        if full and index > start:
            yield range(start, index)
            start, token_sum, byte_sum = index, 0, 0
        token_sum, byte_sum = token_sum + count, byte_sum + size
    if start < len(tokens):
        yield range(start, len(tokens))


def _weight(piece: str) -> int:
    if piece.isascii():
        return 1
    return max(1, len(unicodedata.normalize("NFKC", piece))) + (ord(piece) > _LAST_OF_PLANE_0)


class _FileTokens:
    def __init__(self, file: Path, max_tokens: int) -> None:
        from embedder.tokens import TextTokenizer  # imports a library that estimates do not need

        try:
            self._tokenizer = TextTokenizer(file.read_text(encoding="utf-8"), max_tokens=max_tokens)
        except Exception as error:  # the tokenizers library raises nothing narrower
            raise ModelError(f"{file} is not a usable tokenizer.json: {error}") from error
        self.special_tokens = self._tokenizer.special_tokens

    def spans(self, text: str) -> Int64Array:
        return self._tokenizer.spans(text)
