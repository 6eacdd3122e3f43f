"""The objective for causal language models: the log probability of the target as a continuation of the prompt.

Its drop when a part is suppressed equals the rise of the target's cross-entropy, summed over the target's tokens or
token by token. Suppressing a token of the target itself affects the tokens after it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from core.errors import InvalidInput
from core.prompts import Prompt
from core.protocols import Priority
from core.records import Float32Array, Float64Array, Int64Array
from embedder.causal.model import CausalModel
from embedder.explaining.objective import Measurement, Spans, target_parts
from embedder.explaining.request import ExplanationRequest, ObjectiveName, TargetGranularity

_BATCH_TOKENS = 2048
_BATCH_LOGITS = 1 << 26  # float32 numbers: 256 MiB


class CrossEntropy:
    """Fulfils embedder.explaining.objective.Objective."""

    name = ObjectiveName.CROSS_ENTROPY

    def __init__(self, model: CausalModel, *, priority: Priority = Priority.INTERACTIVE) -> None:
        self._model = model
        self._priority = priority
        self.model = model.name
        self.fingerprint = model.fingerprint

    def token_spans(self, text: str) -> Int64Array:
        return self._model.tokenizer.spans(text)

    def measure(self, prompts: Sequence[Prompt], request: ExplanationRequest) -> Measurement:
        """The target's log probabilities under each prompt; implements Objective.measure.

        Raises InvalidInput if the target has no tokens, or if prompt and target do not fit into the model together;
        Abandoned between two batches if nobody waits for the answer any more.
        """
        model, target = self._model, request.target
        read = model.read(prompts[0], request.options)
        target_ids = model.target_ids(target)
        if not len(target_ids):
            raise InvalidInput("the target is empty: the model's tokenizer finds no token in it", param="target")
        if len(read) + len(target_ids) > model.max_tokens:
            raise InvalidInput(
                f"prompt and target have together more than the {model.max_tokens} tokens that model {model.name} "
                "reads: shorten one of them",
                param="target",
            )
        tokens = model.tokens(prompts[0])
        rows = np.ones((len(prompts), len(read) + len(target_ids)), dtype=np.float32)
        for row, prompt in zip(rows, prompts, strict=True):
            factors = model.factors(prompt, tokens, request.options)
            if factors is not None:
                row[: len(read)] = factors
        by_token = request.target_granularity is TargetGranularity.TOKEN
        if by_token:  # one more row for each target token except the last
            within = np.repeat(rows[:1], len(target_ids) - 1, axis=0)
            for j, row in enumerate(within):
                row[len(read) + j] = request.control_factor
            rows = np.concatenate([rows, within])
        found = self._log_probabilities(np.concatenate([read.ids, target_ids]), rows, len(target_ids), request)
        if not by_token:
            whole = found.sum(axis=1, keepdims=True)
            return Measurement(parts=[(0, len(target))], values=whole, preceding=np.zeros((1, 1)), truncated=False)
        parts: Spans = target_parts(target, self.token_spans(target))
        preceding = np.zeros((len(parts), len(parts)))
        preceding[:, :-1] = (found[:1] - found[len(prompts) :]).T
        return Measurement(parts=parts, values=found[: len(prompts)], preceding=np.tril(preceding, -1), truncated=False)

    def _log_probabilities(
        self, ids: Int64Array, factors: Float32Array, count: int, request: ExplanationRequest
    ) -> Float64Array:
        """(rows, count) natural log probabilities of the last `count` of `ids`, under each row of factors."""
        if (factors == 1).all():
            return np.repeat(self._batch(ids, None, count, request), len(factors), axis=0)
        size = max(1, min(_BATCH_TOKENS // len(ids), _BATCH_LOGITS // ((count + 1) * self._model.vocabulary)))
        batches = [factors[start : start + size] for start in range(0, len(factors), size)]
        return np.concatenate([self._batch(ids, batch, count, request) for batch in batches])

    def _batch(
        self, ids: Int64Array, factors: Float32Array | None, count: int, request: ExplanationRequest
    ) -> Float64Array:
        logits = self._model.logits(
            ids,
            factors,
            keep=count + 1,
            log_additive=request.options.log_additive,
            priority=self._priority,
        )
        probabilities = torch.log_softmax(logits[:, :-1].double(), dim=-1)
        target = torch.from_numpy(ids[-count:]).to(logits.device).expand(len(logits), -1)
        found: Float64Array = probabilities.gather(2, target[:, :, None])[:, :, 0].cpu().numpy()
        return found
