"""A tokenizer that counts the characters that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import Encoding, Tokenizer


class CountedTokenizer:
    def __init__(self, tokenizer: Tokenizer, count: list[int]) -> None:
        """`count`: of the characters of each text, as it comes."""
        self._tokenizer = tokenizer
        self._count = count

    def encode(self, text: str, **options: Any) -> Encoding:
        self._count.append(len(text))
        return self._tokenizer.encode(text, **options)

    def encode_batch(self, texts: Sequence[str | tuple[str, str]]) -> list[Encoding]:
        self._count += (len(text) if isinstance(text, str) else sum(map(len, text)) for text in texts)
        return self._tokenizer.encode_batch(texts)
