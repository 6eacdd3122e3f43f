"""The text of tokens in context: some tokenizers decode a token differently at the start of a text than within it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedder.tokens import TextTokenizer

_BROKEN = "\ufffd"  # the replacement character, which the bytes of an incomplete character decode to


class TokenTexts:
    """Maps token ids to the text that they add. Thread-safe: every thread would cache the same labels."""

    def __init__(self, tokenizer: TextTokenizer, vocabulary: int) -> None:
        """`vocabulary`: the number of logits of the network, which may be more or fewer than the tokenizer's tokens."""
        self._tokenizer = tokenizer
        self._anchor = tokenizer.ids("a")[-1:]
        self._names = {id: name for name, id in tokenizer.vocabulary().items()}
        self.known_ids = np.array(sorted(id for id in self._names if id < vocabulary), dtype=np.int64)  # rising
        self._labels: dict[int, str] = {}

    def after(self, context: Sequence[int], ids: Sequence[int]) -> str:
        """The text that `ids` add after `context`, without special tokens."""
        anchor = list(context[-1:])
        before, whole = self._tokenizer.text(anchor), self._tokenizer.text([*anchor, *ids])
        if before.endswith(_BROKEN) or not whole.startswith(before):
            return self._tokenizer.text(list(ids))  # the prompt ends within a character
        return whole[len(before) :]

    def label(self, id: int) -> str:
        """The text that the token adds within a text, or its name in the vocabulary if it has no text of its own.

        Special tokens, and tokens that are only part of a character, have no text of their own.
        """
        if id not in self._labels:
            text = self.after(self._anchor, [id])
            self._labels[id] = self._names[id] if not text or _BROKEN in text else text
        return self._labels[id]
