"""How much of a long text has to be tokenized: not megabytes of it for a model that reads some hundred tokens."""

from __future__ import annotations

import re
from collections.abc import Callable

from core.errors import InvalidInput

_LEAST_CHARACTERS = 4096
_CHARACTERS = 16  # of a token, generously; where tokens are longer, more is read
_MOST_CHARACTERS = (
    1 << 20
)  # that are read in search of tokens, or more where a model reads much; tokenizing takes about 70 bytes for each
_NEARBY = 256  # characters in which white space is looked for, to cut there
_SPACE = re.compile(r"\s")


def beginning(text: str, tokens: int, count: Callable[[str], int]) -> str:
    """The beginning of a text, with more than twice as many tokens as are asked for; all of it where it has fewer.

    So its first `tokens` tokens are those of the whole text: a tokenizer splits at white space, or sees some characters
    ahead, and the cut is far behind. `count`: a text to the number of its tokens. The time taken is that of what
    is returned, however long the text. Raises InvalidInput for a long text with hardly any token, such as white space.
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
