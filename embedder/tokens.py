"""Texts to model tokens, each with the characters that it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Encoding, Tokenizer
from tokenizers.normalizers import Lowercase, Normalizer
from tokenizers.normalizers import Sequence as NormalizerSequence

from core.records import BoolArray, Int64Array


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizedText:
    """The tokens that a model reads of one text."""

    ids: Int64Array  # (tokens,)
    spans: Int64Array  # (tokens, 2) characters of the text, prefix not counted; (0, 0) for special and prefix tokens
    special: BoolArray  # (tokens,) whether the token is special
    prefix: BoolArray  # (tokens,) whether the token belongs to the representation's prefix
    truncated: bool  # whether tokens were cut off

    def __len__(self) -> int:
        return len(self.ids)


class TextTokenizer:
    """A fast tokenizer with its limit fixed once: shared settings that change between calls are not thread-safe."""

    def __init__(self, definition: str, *, max_tokens: int, lowercase: bool = False) -> None:
        """`definition`: the text of a `tokenizer.json`. `lowercase`: the model wants its text lower-cased first."""
        self._whole = Tokenizer.from_str(definition)
        self._whole.no_padding()
        self._whole.no_truncation()
        if lowercase:
            self._whole.normalizer = _lowercase_first(self._whole.normalizer)
        self._cut = Tokenizer.from_str(self._whole.to_str())
        self._cut.enable_truncation(max_tokens)
        self.max_tokens = max_tokens
        self.special_tokens = self._whole.num_special_tokens_to_add(False)

    def tokenize(self, texts: Sequence[str], prefix: str = "") -> list[TokenizedText]:
        """The tokens of `prefix + text` for every text, special tokens included, cut at `max_tokens`."""
        encodings = self._cut.encode_batch([prefix + text for text in texts])
        return [_tokenized(encoding, len(prefix)) for encoding in encodings]

    def spans(self, text: str) -> Int64Array:
        """(tokens, 2) character spans of the text's tokens, without special tokens and without a cut."""
        offsets = self._whole.encode(text, add_special_tokens=False).offsets
        return np.asarray(offsets, dtype=np.int64).reshape(-1, 2)

    def prefix_tokens(self, prefix: str) -> int:
        """How many tokens a prefix costs."""
        return len(self._whole.encode(prefix, add_special_tokens=False).ids) if prefix else 0


def _tokenized(encoding: Encoding, prefix_length: int) -> TokenizedText:
    spans = np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2) - prefix_length
    special = np.asarray(encoding.special_tokens_mask, dtype=np.bool_)
    prefix = ~special & (spans[:, 1] <= 0)
    spans[special | prefix] = 0
    return TokenizedText(
        ids=np.asarray(encoding.ids, dtype=np.int64),
        spans=np.maximum(spans, 0),  # a token that reaches from the prefix into the text
        special=special,
        prefix=prefix,
        truncated=bool(encoding.overflowing),
    )


def _lowercase_first(normalizer: Normalizer | None) -> Normalizer:
    return NormalizerSequence([Lowercase(), normalizer]) if normalizer is not None else Lowercase()
