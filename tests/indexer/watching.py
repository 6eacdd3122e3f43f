"""The real encoder, watched: what it embeds, and failures on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from core.prompts import Prompt, TextItem
from core.protocols import Encoder
from core.records import Embeddings, Representation


class Watched:
    """The real encoder, which counts what it embeds and can be told to fail."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.embedded: list[str] = []
        self.fails: Callable[[str], bool] = lambda text: False
        self.spoils: Callable[[str], bool] = lambda text: False
        self.before: Callable[[], None] = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode(self, prompts: Sequence[Prompt], representation: Representation, **options: Any) -> Embeddings:
        assert representation is Representation.DOCUMENT
        self.before()
        texts = [item.text for prompt in prompts for item in prompt.items if isinstance(item, TextItem)]
        if any(map(self.fails, texts)):
            raise RuntimeError("no kernel for this text")
        made = self._encoder.encode(prompts, representation, **options)
        made.vectors[[self.spoils(text) for text in texts]] = np.nan
        self.embedded += texts
        return made
