"""The texts of tokens where they stand: some tokenizers write a token at the start of a text unlike further on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedder.tokens import TextTokenizer

_BROKEN = "\ufffd"  # what bytes that are no whole character decode to


class TokenTexts:
    """Token ids to what they add to a text. Thread-safe: what is remembered is the same whoever finds it."""

    def __init__(self, tokenizer: TextTokenizer, vocabulary: int) -> None:
        """`vocabulary`: how many logits the network gives; it may be more than there are tokens, and even fewer."""
        self._tokenizer = tokenizer
        self._anchor = tokenizer.ids("a")[-1:]
        self._names = {id: name for name, id in tokenizer.vocabulary().items()}
        self.known_ids = np.array(sorted(id for id in self._names if id < vocabulary), dtype=np.int64)  # rising
        self._labels: dict[int, str] = {}

    def after(self, context: Sequence[int], ids: Sequence[int]) -> str:
        """What `ids` add to the text of `context`, special tokens left out."""
        anchor = list(context[-1:])
        before, whole = self._tokenizer.text(anchor), self._tokenizer.text([*anchor, *ids])
        if before.endswith(_BROKEN) or not whole.startswith(before):
            return self._tokenizer.text(list(ids))  # the prompt ends within a character
        return whole[len(before) :]

    def label(self, id: int) -> str:
        """What the token adds within a text; its name in the vocabulary where that is no text of its own.

        Without a text are special tokens, and tokens that are only a part of a character.
        """
        if id not in self._labels:
            text = self.after(self._anchor, [id])
            self._labels[id] = self._names[id] if not text or _BROKEN in text else text
        return self._labels[id]
