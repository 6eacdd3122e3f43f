"""The local dense encoder: runs a transformer, pooling and dense head on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from core.prompts import ControlOptions, Prompt
from core.protocols import BatchObserver, Priority, Progress
from core.records import (
    Embeddings,
    Float32Array,
    Float64Array,
    Int64Array,
    Representation,
    TokenAttributions,
    TokenTrace,
)
from embedder.auto import pushed_away
from embedder.backbone import Backbone
from embedder.forward import DEFAULT_OPTIONS, Batch, Forward, token_counts, truncated
from embedder.gradients import STEPS, Differentiable
from embedder.modelfolder import ModelFolder
from embedder.pooling import DenseHead, pool, pool_weights
from embedder.promptfactors import Negative
from embedder.tokens import TextTokenizer, TokenizedPrompt


class LocalEncoder:
    """A transformer with its tokenizer, pooling and dense head. Fulfils core.protocols.Encoder; thread-safe."""

    def __init__(
        self,
        *,
        name: str,
        folder: ModelFolder,
        backbone: Backbone,
        tokenizer: TextTokenizer,
        head: DenseHead,
        fingerprint: str,
        space: str,
        dimension: int,
    ) -> None:
        """`space`: identifies the vector space, see embedder.projection.space."""
        self.name = name
        self.fingerprint = fingerprint
        self.space = space
        self.dimension = dimension
        self.matryoshka = folder.matryoshka  # dimensions to which its vectors may be cut
        self.max_tokens = tokenizer.max_tokens
        self.precision = backbone.precision
        self.tokenizer = tokenizer
        self._folder = folder
        self._head = head
        self._forward = Forward(
            name=name,
            prefixes=folder.prefixes,
            tokenizer=tokenizer,
            backbone=backbone,
            pool_problem="" if folder.pooling.is_mean else "its pooling is not a mean over tokens",
            negative=Negative.AWAY,
        )
        self.support = self._forward.support
        self._differentiable = Differentiable(folder.transformer, backbone.device)

    def observe(self, observer: BatchObserver) -> None:
        """As in core.protocols.Observable; steps of integrated gradients are reported as batches, too."""
        self._forward.observe(observer)
        self._differentiable.observe(observer)

    def waiting(self) -> dict[Priority, int]:
        gradients = self._differentiable.waiting()
        return {priority: count + gradients[priority] for priority, count in self._forward.waiting().items()}

    def encode(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = DEFAULT_OPTIONS,
        priority: Priority = Priority.INTERACTIVE,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Vectors (prompts, dimension) float32 of unit length, in the order of `prompts`.

        Raises InvalidControl if a control cannot act on this model, or if the controls suppress every token of a
        prompt.
        """
        prepared = self._forward.prepare(prompts, representation, options)
        vectors = np.zeros((len(prompts), self.dimension), dtype=np.float32)

        def read(batch: Batch) -> None:
            vectors[batch.indices] = self._pooled(batch, *self._weighted(batch))

        self._forward.run_batches(prepared, options, read, priority=priority, progress=progress)
        return Embeddings(vectors=vectors, token_counts=token_counts(prepared), truncated=truncated(prepared))

    def trace(
        self, prompts: Sequence[Prompt], representation: Representation, *, options: ControlOptions = DEFAULT_OPTIONS
    ) -> list[TokenTrace] | None:
        """The token vectors and pool weights whose mean is each prompt's embedding, in the order of `prompts`.

        None if the embedding is no such mean: the pooling is not a mean, or a layer after it is not linear.
        """
        if not self._tells:
            return None
        prepared = self._forward.prepare(prompts, representation, options)
        traces: dict[int, TokenTrace] = {}

        def read(batch: Batch) -> None:
            traces.update(self._traces(batch, *self._weighted(batch)))

        self._forward.run_batches(prepared, options, read)
        return [traces[index] for index in range(len(prompts))]

    def encode_traced(
        self, prompts: Sequence[Prompt], representation: Representation, *, options: ControlOptions = DEFAULT_OPTIONS
    ) -> tuple[Embeddings, list[TokenTrace] | None]:
        """Fulfils core.protocols.TracingEncoder."""
        if not self._tells:
            return self.encode(prompts, representation, options=options), None
        prepared = self._forward.prepare(prompts, representation, options)
        vectors = np.zeros((len(prompts), self.dimension), dtype=np.float32)
        traces: dict[int, TokenTrace] = {}

        def read(batch: Batch) -> None:
            hidden, weights = self._weighted(batch)
            vectors[batch.indices] = self._pooled(batch, hidden, weights)
            traces.update(self._traces(batch, hidden, weights))

        self._forward.run_batches(prepared, options, read)
        made = Embeddings(vectors=vectors, token_counts=token_counts(prepared), truncated=truncated(prepared))
        return made, [traces[index] for index in range(len(prompts))]

    def integrated_gradients(
        self, prompt: Prompt, representation: Representation, direction: Float64Array, *, steps: int = STEPS
    ) -> TokenAttributions:
        """Fulfils core.protocols.GradientEncoder; the prompt's controls do not act. Raises Abandoned."""
        [prepared] = self._forward.prepare([prompt], representation, DEFAULT_OPTIONS)
        tokens, folder, device = prepared.tokens, self._folder, self._forward.backbone.device
        towards = torch.from_numpy(direction.astype(np.float32)).to(device)

        def cosine(hidden: Tensor) -> Tensor:
            lengths = [hidden.shape[1]] * len(hidden)
            prefixes = () if folder.pool_prefix else [tokens.prefix] * len(hidden)
            weights = pool_weights(folder.pooling, lengths, None, device, prefixes)
            pooled = self._head(pool(hidden.flatten(0, 1), weights, lengths, folder.pooling))
            return torch.nn.functional.normalize(pooled, dim=1) @ towards

        special = tokens.special | tokens.prefix
        values, found, empty = self._differentiable.integrated_gradients(tokens.ids, ~special, cosine, steps)
        return TokenAttributions(spans=tokens.spans, special=special, values=values, cosine=found, baseline=empty)

    def layers(
        self, prompt: Prompt, representation: Representation, *, options: ControlOptions, priority: Priority
    ) -> tuple[TokenizedPrompt, list[Tensor]]:
        """Fulfils embedder.layers.LayeredEncoder. Factors act on the attention only: nothing is pooled here."""
        [prepared] = self._forward.prepare([prompt], representation, options)
        return prepared.tokens, self._forward.layers(prepared, options, priority)

    def token_spans(self, text: str) -> Int64Array:
        return self.tokenizer.spans(text)

    def overhead(self, representation: Representation) -> int:
        return self._forward.overhead(representation)

    @property
    def _tells(self) -> bool:
        """Whether an embedding is a mean of token vectors: the pooling is a mean, and the layers after it linear."""
        return self._folder.pooling.is_mean and self._head.is_affine

    def _pooled(self, batch: Batch, hidden: Tensor, weights: Tensor) -> Float32Array:
        """(prompts, dimension) float32 embeddings of unit length."""
        pooled = pool(hidden, weights, batch.lengths, self._folder.pooling)
        vectors: Float32Array = torch.nn.functional.normalize(self._head(pooled), dim=1).cpu().numpy()
        return vectors

    def _traces(self, batch: Batch, hidden: Tensor, weights: Tensor) -> Iterator[tuple[int, TokenTrace]]:
        """Yields the index and the trace of each prompt of the batch."""
        # The head is affine, so applying it to the tokens and then averaging equals applying it to their mean.
        vectors, shares = self._head(hidden).cpu().numpy(), weights.cpu().numpy().astype(np.float64)
        end = 0
        for index, prompt in zip(batch.indices, batch.prompts, strict=True):
            start, end = end, end + len(prompt.tokens)
            yield (
                index,
                TokenTrace(
                    spans=prompt.tokens.spans,
                    special=prompt.tokens.special | prompt.tokens.prefix,
                    vectors=vectors[start:end],
                    weights=shares[start:end],
                ),
            )

    def _weighted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The token vectors (tokens, width) and their weights in their prompt's pool, (tokens,) >= 0."""
        prefixes = () if self._folder.pool_prefix else [prompt.tokens.prefix for prompt in batch.prompts]
        weights = pool_weights(self._folder.pooling, batch.lengths, batch.factors, batch.hidden.device, prefixes)
        return (batch.hidden, weights) if batch.factors is None else pushed_away(batch.hidden, weights, batch.lengths)
