"""Cuts long texts before tokenization: a model that reads some hundred tokens does not need megabytes tokenized."""

from __future__ import annotations

import re
from collections.abc import Callable

from core.errors import InvalidInput

_LEAST_CHARACTERS = 4096
_CHARACTERS = 16  # per token, a generous estimate; if tokens are longer, more is read
# Characters read in search of tokens; more for models that read long texts. Tokenizing takes about 70 bytes for each.
_MOST_CHARACTERS = 1 << 20
_NEARBY = 256  # characters in which white space to cut at is looked for
_SPACE = re.compile(r"\s")


def beginning(text: str, tokens: int, count: Callable[[str], int]) -> str:
    """The beginning of a text, with more than `2 * tokens` tokens; the whole text if it has fewer.

    Its first `tokens` tokens are those of the whole text, because a tokenizer splits at white space or looks only a few
    characters ahead, and the cut is far behind them. `count` returns the number of tokens of a text. The time depends
    on the length of the result, not on that of the text. Raises InvalidInput for a long text with hardly any tokens,
    such as white space.
    """
    size = max(_LEAST_CHARACTERS, _CHARACTERS * tokens)
    most = max(_MOST_CHARACTERS, 4 * size)
    while size < len(text):
        space = _SPACE.search(text, size, size + _NEARBY)
        part = text[: space.start() if space is not None else size]
        if count(part) > 2 * tokens:
            return part
        if size >= most:
            raise InvalidInput(
                f"a text of {len(text)} characters has no more than {2 * tokens} tokens in its first {len(part)}: "
                "it is white space, or one word without end; send the text itself"
            )
        size *= 4
    return text
