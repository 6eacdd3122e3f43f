"""Tokenizes prompts into model tokens, each with the prompt item and the characters that it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer
from tokenizers.normalizers import Lowercase, Normalizer
from tokenizers.normalizers import Sequence as NormalizerSequence

from core.errors import InvalidInput, ModelError
from core.prompts import ImageItem, Prompt, TextItem, TokenIdsItem
from core.records import BoolArray, Int64Array
from embedder.beginning import beginning

_BEGINNINGS = ("a", "如")  # sample texts: every vocabulary joins a space to the first, few to the second
NO_ITEM = -1  # the item of special tokens and of the representation's prefix


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizedPrompt:
    """The tokens that a model reads of one prompt."""

    ids: Int64Array  # (tokens,)
    items: Int64Array  # (tokens,) index of the prompt's item that the token came from, or NO_ITEM
    spans: Int64Array  # (tokens, 2) characters of its text item; (0, 0) for all other tokens
    special: BoolArray  # (tokens,) whether the token is special
    prefix: BoolArray  # (tokens,) whether the token belongs to the representation's prefix
    truncated: bool  # whether tokens were cut off

    def __len__(self) -> int:
        return len(self.ids)


class TextTokenizer:
    """A fast tokenizer with a fixed limit. Thread-safe, as its settings never change between calls."""

    def __init__(self, definition: str, *, max_tokens: int, lowercase: bool = False) -> None:
        """`definition`: the text of a `tokenizer.json`. `lowercase`: the model wants its text lower-cased first."""
        self._whole = Tokenizer.from_str(definition)
        self._whole.no_padding()
        self._whole.no_truncation()
        if lowercase:
            self._whole.normalizer = _lowercase_first(self._whole.normalizer)
        self._cut = _beside(self._whole)
        self._cut.enable_truncation(max_tokens)
        self._before, self._after = _special_ids(self._whole)
        self.special_after = len(self._after)  # special tokens after every text
        self.max_tokens = max_tokens
        self.special_tokens = self._whole.num_special_tokens_to_add(False)
        self._prefix_tokens: dict[str, int] = {}

    def tokenize(self, prompts: Sequence[Prompt], prefix: str = "") -> list[TokenizedPrompt]:
        """The tokens of every prompt: prefix and items, with special tokens around them, truncated to `max_tokens`.

        Raises InvalidInput, with the prompt's `index`, for an image and for a token id that the vocabulary lacks.
        """
        texts = [_only_text(prompt) for prompt in prompts]
        read = []
        for index, text in enumerate(texts):
            if text is not None:
                with InvalidInput.indexed(index):
                    read.append(prefix + self._beginning(text))
        encodings = iter(self._cut.encode_batch(read))
        tokenized = []
        for index, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
            with InvalidInput.indexed(index):
                whole = self._joined(prompt, prefix) if text is None else _tokenized(next(encodings), len(prefix))
                tokenized.append(whole)
        return tokenized

    def spans(self, text: str) -> Int64Array:
        """(tokens, 2) character spans of the text's tokens, without special tokens, not truncated."""
        return _spans(self._whole.encode(text, add_special_tokens=False))

    def ids(self, text: str) -> list[int]:
        """The ids of the text's tokens, without special tokens, not truncated."""
        return list(self._whole.encode(text, add_special_tokens=False).ids)

    def first_ids(self, text: str, count: int) -> list[int]:
        """At least the first `count` of the text's `ids`, or all if there are fewer, without tokenizing all of it."""
        return self.ids(beginning(text, count, lambda part: len(self.ids(part))))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The vocabulary's name of every id. Raises InvalidInput for an id that the vocabulary lacks."""
        names = [self._whole.id_to_token(id) if 0 <= id < 2**32 else None for id in ids]
        unknown = next((id for id, name in zip(ids, names, strict=True) if name is None), None)
        if unknown is not None:
            raise InvalidInput(
                f"token id {unknown} is not in the model's vocabulary of {self._whole.get_vocab_size()} tokens",
                param="token_ids",
            )
        return [name for name in names if name is not None]

    def text(self, ids: Sequence[int]) -> str:
        """Decodes the ids, without special tokens. Raises InvalidInput as `tokens` does."""
        self.tokens(ids)
        return self._whole.decode(list(ids))

    def vocabulary(self) -> dict[str, int]:
        """Every token's name and id, added tokens included."""
        return dict(self._whole.get_vocab())

    def definition(self) -> str:
        """A `tokenizer.json` that encodes and decodes like `ids` and `text`: no special tokens, no truncation."""
        plain = _beside(self._whole)
        plain.post_processor = None
        return plain.to_str()

    def prefix_tokens(self, prefix: str) -> int:
        """The number of tokens that a prefix adds to those of a text alone; the maximum if it depends on the text.

        The prefix's last space is no token of its own if the text's first token includes a space anyway, as in
        SentencePiece; in a text that begins with white space it can be one.
        """
        if prefix and prefix not in self._prefix_tokens:  # cached: needed for every passage with a title
            costs = (len(self.ids(prefix + text)) - len(self.ids(text)) for text in _BEGINNINGS)
            self._prefix_tokens[prefix] = max(costs)
        return self._prefix_tokens[prefix] if prefix else 0

    def _beginning(self, text: str) -> str:
        """The beginning of a text that has more tokens than are read, or all of it."""
        return beginning(text, self.max_tokens, lambda part: len(self.ids(part)))

    def _joined(self, prompt: Prompt, prefix: str) -> TokenizedPrompt:
        parts = [_special(self._before)]
        for index, item in enumerate(prompt.items):
            ahead = prefix if index == 0 else ""
            match item:
                case TextItem():
                    encoding = self._whole.encode(ahead + self._beginning(item.text), add_special_tokens=False)
                    parts.append(_tokenized(encoding, len(ahead), index))
                case TokenIdsItem():
                    if ahead:
                        parts.append(self._before_ids(ahead))
                    self.tokens(item.ids)  # raises for unknown ids
                    parts.append(_plain(item.ids, index))
                case ImageItem():
                    raise InvalidInput("the model reads no images", param="prompt")
        room = self.max_tokens - len(self._after)
        whole = _concatenated(parts)
        return _concatenated([_first(whole, room), _special(self._after)], truncated=len(whole) > room)

    def _before_ids(self, prefix: str) -> TokenizedPrompt:
        """The prefix's tokens to put before the tokens of a text that was tokenized by itself."""
        tokens = _tokenized(self._whole.encode(prefix, add_special_tokens=False), len(prefix))
        together, alone = self.ids(prefix + _BEGINNINGS[0]), self.ids(_BEGINNINGS[0])
        same = together[-len(alone) :] == alone  # else the prefix changes the text's first token
        return _first(tokens, len(together) - len(alone)) if same else tokens


def load_tokenizer(folder: Path, max_tokens: int, *, lowercase: bool = False) -> tuple[str, TextTokenizer]:
    """The text of a folder's `tokenizer.json`, and the tokenizer. Raises ModelError if the file cannot be used."""
    file = folder / "tokenizer.json"
    try:
        definition = file.read_text(encoding="utf-8")
        return definition, TextTokenizer(definition, max_tokens=max_tokens, lowercase=lowercase)
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise ModelError(f"{file}: {error}") from error


def _only_text(prompt: Prompt) -> str | None:
    first = prompt.items[0]
    return first.text if len(prompt.items) == 1 and isinstance(first, TextItem) else None


def _tokenized(encoding: Encoding, prefix_length: int, item: int = 0) -> TokenizedPrompt:
    spans = _spans(encoding) - prefix_length
    special = np.asarray(encoding.special_tokens_mask, dtype=np.bool_)
    prefix = ~special & (spans[:, 1] <= 0) if prefix_length else np.zeros(len(special), dtype=np.bool_)
    spans[special | prefix] = 0
    return TokenizedPrompt(
        ids=np.asarray(encoding.ids, dtype=np.int64),
        items=np.where(special | prefix, NO_ITEM, item),
        spans=np.maximum(spans, 0),  # a token may reach from the prefix into the text
        special=special,
        prefix=prefix,
        truncated=bool(encoding.overflowing),
    )


def _spans(encoding: Encoding) -> Int64Array:
    return np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2)


def _plain(ids: Sequence[int], item: int) -> TokenizedPrompt:
    """Tokens that were given by their ids and come from no text."""
    count = len(ids)
    return TokenizedPrompt(
        ids=np.asarray(ids, dtype=np.int64),
        items=np.full(count, item, dtype=np.int64),
        spans=np.zeros((count, 2), dtype=np.int64),
        special=np.full(count, item == NO_ITEM),
        prefix=np.zeros(count, dtype=np.bool_),
        truncated=False,
    )


def _special(ids: Sequence[int]) -> TokenizedPrompt:
    return _plain(ids, NO_ITEM)


def _beside(tokenizer: Tokenizer) -> Tokenizer:
    """A copy with its own settings.

    Both share the vocabulary, because parsing a large one again blocks all threads for long.
    """
    other = Tokenizer(tokenizer.model)
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        setattr(other, part, getattr(tokenizer, part))
    for _, token in sorted(tokenizer.get_added_tokens_decoder().items()):  # ids are assigned in this order
        (other.add_special_tokens if token.special else other.add_tokens)([token])
    return other


def _special_ids(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The ids of the special tokens before and after every text."""
    encoding = tokenizer.encode("a")
    own = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
    return (encoding.ids[: own[0]], encoding.ids[own[-1] + 1 :]) if own else (encoding.ids, [])


def _concatenated(parts: Sequence[TokenizedPrompt], truncated: bool = False) -> TokenizedPrompt:
    return TokenizedPrompt(
        ids=np.concatenate([part.ids for part in parts]),
        items=np.concatenate([part.items for part in parts]),
        spans=np.concatenate([part.spans for part in parts]),
        special=np.concatenate([part.special for part in parts]),
        prefix=np.concatenate([part.prefix for part in parts]),
        truncated=truncated,
    )


def _first(tokens: TokenizedPrompt, count: int) -> TokenizedPrompt:
    return TokenizedPrompt(
        ids=tokens.ids[:count],
        items=tokens.items[:count],
        spans=tokens.spans[:count],
        special=tokens.special[:count],
        prefix=tokens.prefix[:count],
        truncated=tokens.truncated,
    )


def _lowercase_first(normalizer: Normalizer | None) -> Normalizer:
    return NormalizerSequence([Lowercase(), normalizer]) if normalizer is not None else Lowercase()
