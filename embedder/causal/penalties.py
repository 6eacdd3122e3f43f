"""Repetition penalties: presence, frequency and sequence penalties on the logits of tokens that occurred before.

With the logit l of a token, its number of occurrences c in the text that the penalties look at, and the penalty p:

    presence    additive  l - p            multiplicative  l / (1 + p) where l > 0, else l * (1 + p);   once, if c > 0
    frequency   additive  l - c * p        multiplicative  the same with (1 + p) ** c
    sequence    as presence, for a token that would complete a sequence of tokens that occurs already

The multiplicative form is that of CTRL (Keskar et al., 2019) with 1 + p for its theta, so that 0 changes nothing in
either form. The public documents of the completion API name both forms but give neither their formulas nor a definition
of a sequence. Here a token completes a sequence if it also follows an earlier occurrence of the last `min_length - 1`
tokens of the text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from core.records import Float64Array, Int64Array
from embedder.causal.pieces import TokenTexts
from embedder.causal.request import Completion, Penalty

_MAX_EXPONENT = 69.0


class Penalties:
    """The penalties of one request."""

    def __init__(self, request: Completion, prompt: Sequence[int], texts: TokenTexts, bias: Sequence[int]) -> None:
        """`prompt`, `bias`: the token ids of the prompt and of the request's `penalty_bias`."""
        self._request = request
        self._prompt = list(prompt)
        self._bias = list(bias)
        self._texts = texts
        stops = request.stop_sequences if request.penalty_exceptions_include_stop_sequences else ()
        self._exceptions = (*request.penalty_exceptions, *stops)
        self.active = any(
            p.value for p in (request.presence_penalty, request.frequency_penalty, request.sequence_penalty)
        )

    def apply(self, logits: Float64Array, generated: Sequence[int]) -> None:
        """Changes in place the `logits` (vocabulary,) of the token that follows the prompt and `generated`."""
        request = self._request
        sources = self._sources(generated)
        counts = Counter(id for source in sources for id in source)
        repeated = self._repeated(counts, generated)
        ids = np.array(repeated, dtype=np.int64)
        _penalize(logits, ids, request.presence_penalty, np.ones(len(ids)))
        _penalize(logits, ids, request.frequency_penalty, np.array([float(counts[id]) for id in repeated]))
        if request.sequence_penalty.value:
            suffix = [*self._prompt, *generated][-(request.sequence_penalty_min_length - 1) :]
            found = set(completing(suffix, sources, request.sequence_penalty_min_length)) & set(repeated)
            ids = np.array(sorted(found), dtype=np.int64)
            _penalize(logits, ids, request.sequence_penalty, np.ones(len(ids)))

    def _sources(self, generated: Sequence[int]) -> list[Sequence[int]]:
        """The token sequences that the penalties look at."""
        prompt = self._prompt if self._request.penalties_include_prompt else []
        completion = generated if self._request.penalties_include_completion else []
        return [[*prompt, *completion], self._bias]

    def _repeated(self, said: Iterable[int], generated: Sequence[int]) -> list[int]:
        """The tokens of `said` to penalize: they neither begin an exception nor continue one after `generated`."""
        if not self._exceptions:
            return list(said)
        pieces = {id: self._texts.label(id) for id in said}
        text = self._texts.after(self._prompt, generated)
        longest = max(map(len, pieces.values()), default=0)
        rests = sorted({rest for exception in self._exceptions for rest in _rests(exception, text, longest)})

        def is_excepted(piece: str) -> bool:
            place = bisect_left(rests, piece)  # the first rest >= piece: it begins with it, if any does
            return place < len(rests) and rests[place].startswith(piece)

        return [id for id, piece in pieces.items() if not is_excepted(piece)]


def _rests(exception: str, text: str, longest: int) -> Iterator[str]:
    """Continuations of `text` that write the exception or finish one begun at its end, cut to `longest` characters."""
    yield exception[:longest]
    last = text[-1:]
    for start in range(1, min(len(exception), len(text) + 1)):
        if exception[start - 1] == last and text.endswith(exception[:start]):
            yield exception[start : start + longest]


def completing(suffix: Sequence[int], sources: Sequence[Sequence[int]], length: int) -> list[int]:
    """The tokens that follow `suffix` (`length - 1` tokens) somewhere in `sources`; none for a shorter suffix."""
    size = length - 1
    if len(suffix) < size:
        return []
    wanted = list(suffix)
    return [
        source[i + size]
        for source in sources
        for i in range(len(source) - size)
        if list(source[i : i + size]) == wanted
    ]


def _penalize(logits: Float64Array, ids: Int64Array, penalty: Penalty, times: Float64Array) -> None:
    if not penalty.value or not len(ids):
        return
    if not penalty.multiplicative:
        logits[ids] -= times * penalty.value
        return
    # Limited to e ** 69, about 1e30: above that a logit would overflow, and infinities cancel to nan.
    strength = np.exp(np.clip(times * np.log1p(penalty.value), -_MAX_EXPONENT, _MAX_EXPONENT))
    logits[ids] = np.where(logits[ids] > 0, logits[ids] / strength, logits[ids] * strength)
