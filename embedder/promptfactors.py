"""Converts the controls of a whole prompt into one factor for each token that the model reads."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import numpy as np

from core.errors import InvalidControl
from core.prompts import MAX_FACTOR, ControlOptions, ImageItem, Prompt, PromptItem, TextItem, TokenIdsItem
from core.records import BoolArray, Float32Array, Float64Array, Int64Array
from embedder.contextual import spread_factors
from embedder.factors import index_factors, span_factors
from embedder.lexical.languages import detected_language, rules_for
from embedder.lexical.words import normalize
from embedder.tokens import TextTokenizer, TokenizedPrompt

_DEFAULT_LANGUAGE = "en"  # for prompts whose language cannot be detected


class Negative(StrEnum):
    """How a model treats factors below 0."""

    REFUSED = "refused"
    ZERO = "zero"  # as 0, for models whose output has no opposite to push towards
    AWAY = "away"  # pushes the vector away from the token, see embedder.auto


def prompt_factors(
    prompt: Prompt,
    tokens: TokenizedPrompt,
    options: ControlOptions,
    tokenizer: TextTokenizer,
    word_vectors: Callable[[Int64Array], Float32Array],
    negative: Negative = Negative.REFUSED,
) -> Float64Array | None:
    """(tokens,) the factor of each token; None if all are 1, so that the model runs entirely unsteered.

    `tokens`: the prompt as tokenized by `tokenizer`; `word_vectors` returns the static input vectors of token ids.
    Raises InvalidControl if overlapping controls multiply to more than MAX_FACTOR, and for factors below 0 if they are
    REFUSED.
    """
    if not prompt.steered:
        return None
    if prompt.pushes_away and negative is Negative.REFUSED:
        raise InvalidControl(
            "a factor below 0 needs a model whose vector is the mean of its tokens', and a target that acts on it "
            f"(auto, both, pool); allowed here are 0 to {MAX_FACTOR:g}, and 0 leaves a word out",
            param="controls",
        )
    factors = np.ones(len(tokens))
    for index, item in enumerate(prompt.items):
        own = tokens.items == index
        match item:
            case TextItem():
                factors[own] = span_factors(item.text, item.controls, tokens.spans[own])
            case TokenIdsItem():
                factors[own] = index_factors(len(item.ids), item.controls)[: own.sum()]  # up to the truncation
    if options.contextual_threshold is not None:
        eligible = ~(tokens.special | tokens.prefix | _stop_words(prompt, tokens, tokenizer))
        factors = spread_factors(factors, word_vectors(tokens.ids), options.contextual_threshold, eligible)
    if negative is Negative.ZERO:
        factors = np.maximum(factors, 0.0)
    return None if (factors == 1).all() else factors


def _stop_words(prompt: Prompt, tokens: TokenizedPrompt, tokenizer: TextTokenizer) -> BoolArray:
    """(tokens,) whether the token is a stop word of the prompt's language, as detected from the whole prompt.

    Other languages' stop words do not count: "war", "die" and "her" each are one in some language.
    """
    read = [_text(item, tokenizer) for item in prompt.items]
    stop_words = rules_for(detected_language(" ".join(read)) or _DEFAULT_LANGUAGE).stop_words
    words = []
    for index, (start, end), id in zip(tokens.items, tokens.spans, tokens.ids, strict=True):
        item = prompt.items[index]
        words.append(item.text[start:end] if isinstance(item, TextItem) else tokenizer.text([int(id)]))
    return np.array([normalize(word.strip()) in stop_words for word in words], dtype=np.bool_)


def _text(item: PromptItem, tokenizer: TextTokenizer) -> str:
    match item:
        case TextItem():
            return item.text
        case TokenIdsItem():
            return tokenizer.text(item.ids)
        case ImageItem():
            return ""
