"""What one package promises another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from core.prompts import ControlOptions, Prompt
from core.records import Embeddings, Int64Array, Representation, TokenTrace

Progress = Callable[[int], None]  # called with the number of items that were finished since the last call


class Encoder(Protocol):
    """Prompts and a representation to dense vectors. Thread-safe; the same text gives the same vector in any batch."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """Identifies everything that a vector depends on: two encoders of one fingerprint agree within 1e-5."""
        ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Tokens that the model reads of a prompt at most, special tokens and the representation's prefix included."""
        ...

    def encode(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = ...,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Embed `prompts`, in order. An empty list gives an array of shape (0, dimension)."""
        ...

    def trace(
        self, prompts: Sequence[Prompt], representation: Representation, *, options: ControlOptions = ...
    ) -> list[TokenTrace] | None:
        """What each prompt's embedding is made of, in order; None where it is no mean of token vectors."""
        ...

    def token_spans(self, text: str) -> Int64Array:
        """(tokens, 2) character spans of the model's tokens of `text`, without special tokens and without a cut."""
        ...

    def overhead(self, representation: Representation) -> int:
        """Tokens that every prompt of this representation costs beside its own: special tokens and prefix."""
        ...
