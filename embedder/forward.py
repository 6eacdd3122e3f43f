"""Runs prompts through a tokenizer and a backbone, batch by batch; shared by all models that embed texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.context import models_read
from core.errors import InvalidInput
from core.prompts import ControlOptions, ControlTarget, Prompt
from core.protocols import Priority, Progress
from core.records import BoolArray, Float64Array, Int64Array, Representation, SparseEmbeddings, SparseVector
from embedder.auto import ATTENTION_LIMIT, moved_attention
from embedder.backbone import Backbone, KeyFactors
from embedder.batching import batch_tokens, token_budget_batches
from embedder.controlsupport import ControlSupport
from embedder.microbatching import MicroBatcher
from embedder.promptfactors import Negative, prompt_factors
from embedder.scheduling import scheduler_of
from embedder.tokens import TextTokenizer, TokenizedPrompt

DEFAULT_OPTIONS = ControlOptions()


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedPrompt:
    """A prompt as the model reads it."""

    tokens: TokenizedPrompt
    factors: Float64Array | None  # (tokens,); None: nothing is steered


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenVectors:
    """The backbone's output for one prompt."""

    tokens: TokenizedPrompt
    vectors: Tensor  # (tokens, width)
    factors: Tensor | None  # (tokens,) >= 0, the weight of each token in a pool; None: all equal


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """The backbone's output for several prompts, one after the other."""

    indices: list[int]  # of the prompts
    prompts: list[PreparedPrompt]
    hidden: Tensor  # (tokens, width)
    factors: Tensor | None  # (tokens,) the weight of each token in a pool; below 0: push away from it; None: all equal

    @property
    def lengths(self) -> list[int]:
        """Number of tokens of each prompt."""
        return [len(prompt.tokens) for prompt in self.prompts]


class Forward:
    """A tokenizer and a backbone. Thread-safe: callers take turns at the backbone, see embedder.microbatching."""

    def __init__(
        self,
        *,
        name: str,
        prefixes: Mapping[Representation, str],
        tokenizer: TextTokenizer,
        backbone: Backbone,
        pool_problem: str = "",
        negative: Negative = Negative.REFUSED,
    ) -> None:
        """`pool_problem`: why factors cannot act on this model's pool; empty if they can.

        `negative`: how factors below 0 are treated if they act on the pool.
        """
        self.support = ControlSupport.of(backbone.attention_problem, pool_problem)
        self.tokenizer = tokenizer
        self.backbone = backbone
        self._name = name
        self._prefixes = prefixes
        self._negative = Negative.REFUSED if pool_problem else negative
        self._batch_tokens = batch_tokens(backbone.device)
        self._batcher = MicroBatcher(backbone, self._batch_tokens, scheduler_of(backbone.device))
        self.observe = self._batcher.observe  # as in core.protocols.Observable
        self.waiting = self._batcher.waiting

    def prepare(
        self, prompts: Sequence[Prompt], representation: Representation, options: ControlOptions
    ) -> list[PreparedPrompt]:
        """Tokenizes the prompts and computes their factors.

        Raises InvalidInput for a prompt without tokens and InvalidControl for controls that cannot act as requested,
        both with the prompt's `index`; InvalidControl also if the model does not support the control target.
        """
        tokenized = self.tokenizer.tokenize(prompts, self._prefixes[representation])
        prepared = []
        for index, (prompt, tokens) in enumerate(zip(prompts, tokenized, strict=True)):
            with InvalidInput.indexed(index):
                prepared.append(self._prepared(prompt, tokens, options))
        if any(prompt.factors is not None for prompt in prepared):
            self.support.check(options.target, self._name)
        return prepared

    def run(
        self,
        prepared: Sequence[PreparedPrompt],
        options: ControlOptions,
        read: Callable[[int, TokenVectors], None],
        *,
        priority: Priority = Priority.INTERACTIVE,
        progress: Progress | None = None,
    ) -> None:
        """Runs the backbone and calls `read(index, vectors)` for every prompt, batch by batch, in inference mode."""

        def read_each(batch: Batch) -> None:
            vectors = torch.split(batch.hidden, batch.lengths)
            shares = [None] * len(vectors) if batch.factors is None else torch.split(batch.factors, batch.lengths)
            for index, prompt, own, share in zip(batch.indices, batch.prompts, vectors, shares, strict=True):
                read(index, TokenVectors(tokens=prompt.tokens, vectors=own, factors=share))

        self.run_batches(prepared, options, read_each, priority=priority, progress=progress)

    def run_batches(
        self,
        prepared: Sequence[PreparedPrompt],
        options: ControlOptions,
        read: Callable[[Batch], None],
        *,
        priority: Priority = Priority.INTERACTIVE,
        progress: Progress | None = None,
    ) -> None:
        """Runs the backbone and calls `read` for every batch, in inference mode; in each group the longest come first.

        Raises Abandoned between two batches if nobody waits for the answer any more.
        """
        with self._batcher.staying(priority), torch.inference_mode():
            for indices in self._batches(prepared, options, priority):
                members = [prepared[i] for i in indices]
                keys, factors = self._steering(members, options)
                hidden = self._batcher.hidden([member.tokens.ids for member in members], keys, priority)
                models_read(int(token_counts(members).sum()))
                read(Batch(indices=indices, prompts=members, hidden=hidden, factors=factors))
                if progress is not None:
                    progress(len(indices))

    def layers(self, prompt: PreparedPrompt, options: ControlOptions, priority: Priority) -> list[Tensor]:
        """The hidden states of every layer, each (tokens, width). Factors act on the attention only."""
        with self._batcher.staying(priority):
            keys, _ = self._steering([prompt], options)
            found = self._batcher.layers(prompt.tokens.ids, keys, priority)
        models_read(len(prompt.tokens))
        return found

    def overhead(self, representation: Representation) -> int:
        """Number of tokens added to every prompt: special tokens and the representation's prefix."""
        return self.tokenizer.special_tokens + self.tokenizer.prefix_tokens(self._prefixes[representation])

    def _prepared(self, prompt: Prompt, tokens: TokenizedPrompt, options: ControlOptions) -> PreparedPrompt:
        if len(tokens) == 0:
            raise InvalidInput("the model's tokenizer finds no token in the text")
        negative = Negative.REFUSED if options.target is ControlTarget.ATTENTION else self._negative
        factors = prompt_factors(prompt, tokens, options, self.tokenizer, self.backbone.word_vectors, negative)
        return PreparedPrompt(tokens=tokens, factors=factors)

    def _batches(
        self, prepared: Sequence[PreparedPrompt], options: ControlOptions, priority: Priority
    ) -> Iterator[list[int]]:
        """Yields the prompts' indices by batch.

        With multiplicative factors, prompts without factors get batches of their own: the formula rounds differently.
        """
        groups = [list(range(len(prepared)))]
        if not options.log_additive:
            groups = [[i for i in groups[0] if (prepared[i].factors is None) is plain] for plain in (True, False)]
        alike = self.backbone.keeps_slots
        for group in groups:
            counts = [len(prepared[i].tokens) for i in group]
            for places in token_budget_batches(counts, lambda: self._batcher.room(priority), alike=alike):
                yield [group[place] for place in places]

    def _steering(
        self, members: Sequence[PreparedPrompt], options: ControlOptions
    ) -> tuple[KeyFactors | None, Tensor | None]:
        """The factors on the attention and on the pool, each (tokens,), or None if it is not steered."""
        if all(member.factors is None for member in members):
            return None, None
        values = [np.ones(len(m.tokens)) if m.factors is None else m.factors for m in members]
        factors, target = self._on_device(values), options.target
        acts_on_attention = target is not ControlTarget.POOL and self.support.attention
        acts_on_pool = target is not ControlTarget.ATTENTION and self.support.pool
        keys = None
        if acts_on_attention:
            own = [_attention(v, m.tokens, options) for v, m in zip(values, members, strict=True)]
            keys = KeyFactors(values=self._on_device(own), log_additive=options.log_additive)
        return keys, factors if acts_on_pool else None

    def _on_device(self, values: Sequence[Float64Array]) -> Tensor:
        return torch.from_numpy(np.concatenate(values).astype(np.float32)).to(self.backbone.device)


def _attention(factors: Float64Array, tokens: TokenizedPrompt, options: ControlOptions) -> Float64Array:
    """(tokens,) >= 0: the factors on the attention that follow from a prompt's factors."""
    if options.target is not ControlTarget.AUTO:
        return np.maximum(factors, 0.0)
    if not options.log_additive:  # multiplied scores have no fixed sum, so no attention can be moved
        return np.clip(factors, 0.0, ATTENTION_LIMIT)
    return moved_attention(factors, tokens.special | tokens.prefix)


def token_counts(prepared: Sequence[PreparedPrompt]) -> Int64Array:
    """(prompts,) int64: the number of tokens that the model reads of each prompt."""
    return np.array([len(prompt.tokens) for prompt in prepared], dtype=np.int64)


def truncated(prepared: Sequence[PreparedPrompt]) -> BoolArray:
    """(prompts,) whether tokens of the prompt were cut off."""
    return np.array([prompt.tokens.truncated for prompt in prepared], dtype=np.bool_)


def sparse_embeddings(prepared: Sequence[PreparedPrompt], found: Mapping[int, SparseVector]) -> SparseEmbeddings:
    """`found`: the sparse vector of every prompt by its index."""
    return SparseEmbeddings(
        vectors=tuple(found[index] for index in range(len(prepared))),
        token_counts=token_counts(prepared),
        truncated=truncated(prepared),
    )
