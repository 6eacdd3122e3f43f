"""Constraints on a completion: texts to choose from, texts never to generate, and a minimum length.

Inclusion works on tokens: the completion is one of the options, as tokenized, and ends after it (or continues if a
longer option begins with it). Exclusion works on text, however it is split into tokens: a token that would complete an
excluded text is not chosen. With `first_token_only`, only the first token of the completion is compared with the first
tokens of the options or excluded texts. The public documents of the completion API do not say what follows an option.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.records import BoolArray
from embedder.causal.model import CausalModel
from embedder.causal.request import Completion


class Constraints:
    """The constraints of one request."""

    def __init__(self, request: Completion, model: CausalModel, prompt: Sequence[int]) -> None:
        self._request = request
        self._end = sorted(model.end_ids)
        self._texts = model.texts
        self._prompt = list(prompt)
        self._options = [tuple(model.tokenizer.ids(option)) for option in request.bias_inclusion]
        self._excluded_first = [model.tokenizer.ids(text)[:1] for text in request.bias_exclusion]
        self._known = np.zeros(model.vocabulary, dtype=np.bool_)
        self._known[model.texts.known_ids] = True

    def allowed(self, generated: Sequence[int]) -> BoolArray:
        """(vocabulary,) which tokens may follow `generated`; `writes_excluded` is checked separately."""
        request = self._request
        if self._options and not (request.bias_inclusion_first_token_only and generated):
            mask = np.zeros_like(self._known)
            mask[[option[len(generated)] for option in self._open(generated)]] = True
            mask[self._end] |= tuple(generated) in self._options
        else:
            mask = self._known.copy()
        if not generated and request.bias_exclusion_first_token_only:
            mask[[id for first in self._excluded_first for id in first]] = False
        if len(generated) < request.minimum_tokens:
            mask[self._end] = False
        return mask

    def writes_excluded(self, generated: Sequence[int]) -> bool:
        """Whether the text of `generated` contains an excluded text."""
        if not self._request.bias_exclusion or self._request.bias_exclusion_first_token_only:
            return False
        text = self._texts.after(self._prompt, generated)
        return any(excluded in text for excluded in self._request.bias_exclusion)

    def complete(self, generated: Sequence[int]) -> bool:
        """Whether `generated` is an option that must end here.

        It must if no longer option begins with it, or if the model has no token to end a text with.
        """
        if not self._options or self._request.bias_inclusion_first_token_only:
            return False
        return tuple(generated) in self._options and not (self._end and self._open(generated))

    def _open(self, generated: Sequence[int]) -> list[tuple[int, ...]]:
        """The longer options that begin with `generated`."""
        size = len(generated)
        return [option for option in self._options if len(option) > size and option[:size] == tuple(generated)]
