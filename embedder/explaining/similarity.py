"""The objective for encoders, which have no language-model loss: the cosine of prompt and target.

Both are embedded with the symmetric representation. Token by token, the value of part k of a target is what it adds:
cos(prompt, target up to k) - cos(prompt, target up to k - 1). So the parts' values, and their importances, sum to those
of the complete target.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.errors import InvalidInput
from core.prompts import Prompt, TextItem
from core.protocols import Encoder, Priority
from core.records import Float64Array, Int64Array, Representation
from embedder.explaining.objective import Measurement, Spans, target_parts
from embedder.explaining.request import ExplanationRequest, ObjectiveName, TargetGranularity
from embedder.explaining.units import suppressed_text

MAX_EMBEDDINGS = 3000  # per request; a target explained by token needs about one for each pair of its tokens


class Similarity:
    """Fulfils embedder.explaining.objective.Objective."""

    name = ObjectiveName.SIMILARITY

    def __init__(self, encoder: Encoder, *, priority: Priority = Priority.INTERACTIVE) -> None:
        self._encoder = encoder
        self._priority = priority
        self.model = encoder.name
        self.fingerprint = encoder.fingerprint

    def token_spans(self, text: str) -> Int64Array:
        return self._encoder.token_spans(text)

    def measure(self, prompts: Sequence[Prompt], request: ExplanationRequest) -> Measurement:
        """The target's cosines under each prompt, from one encoder call; implements Objective.measure.

        Raises InvalidInput if more than MAX_EMBEDDINGS embeddings are needed; Abandoned between two batches if nobody
        waits for the answer any more.
        """
        target = request.target
        parts: Spans = [(0, len(target))]
        if request.target_granularity is TargetGranularity.TOKEN:
            parts = target_parts(target, self.token_spans(target))
        visible = [j for j, part in enumerate(parts) if target[slice(*part)].strip()] if len(parts) > 1 else []
        total = len(prompts) + len(parts) + sum(len(parts) - j for j in visible)
        if total > MAX_EMBEDDINGS:
            raise InvalidInput(
                f"the {len(parts)} tokens of the target and the {len(prompts) - 1} parts of the prompt need {total} "
                f"embeddings, at most {MAX_EMBEDDINGS} are allowed: choose the target granularity complete, "
                "or a coarser granularity of the prompt",
                param="target_granularity",
            )
        prefixes = [target[:end] for _, end in parts]
        within = [(i, j) for i in range(len(parts)) for j in visible if j <= i]
        texts = [TextItem(text=prefix) for prefix in prefixes]
        texts += [suppressed_text(texts[i], *parts[j], request, self.token_spans) for i, j in within]
        found = self._encoder.encode(
            [*prompts, *(Prompt(items=(text,)) for text in texts)],
            Representation.SYMMETRIC,
            options=request.options,
            priority=self._priority,
        )
        vectors = _unit(found.vectors.astype(np.float64))
        cosines = vectors[: len(prompts)] @ vectors[len(prompts) :].T  # (prompts, texts)
        empty = [i for i, prefix in enumerate(prefixes) if not prefix.strip()]
        cosines[:, empty] = 0.0
        whole = np.diff(cosines[:, : len(prefixes)], axis=1, prepend=0.0)
        preceding = np.zeros((len(parts), len(parts)))
        changed = {pair: cosines[0, len(prefixes) + n] for n, pair in enumerate(within)}
        for i, j in within:
            if j < i:
                preceding[i, j] = whole[0, i] - (changed[i, j] - changed[i - 1, j])
        return Measurement(parts=parts, values=whole, preceding=preceding, truncated=bool(found.truncated.any()))


def _unit(vectors: Float64Array) -> Float64Array:
    unit: Float64Array = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit
