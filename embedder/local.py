"""The local encoder: a torch model on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.errors import InvalidControl, InvalidInput
from core.prompts import ControlOptions, ControlTarget, Prompt, TextItem, TokenIdsItem
from core.protocols import Priority, Progress
from core.records import BoolArray, Embeddings, Float64Array, Int64Array, Representation, TokenTrace
from embedder.backbone import Backbone, KeyFactors
from embedder.batching import batch_tokens, token_budget_batches
from embedder.contextual import spread_factors
from embedder.factors import index_factors, span_factors
from embedder.lexical.stopwords import STOP_WORDS
from embedder.lexical.words import normalize
from embedder.modelfolder import ModelFolder
from embedder.pooling import DenseHead, pool, pool_weights
from embedder.tokens import TextTokenizer, TokenizedPrompt
from embedder.turns import Turns

AUTO_ATTENTION_LIMIT = 2.0  # attention alone backfires above this factor (docs/steering.md)
DEFAULT_OPTIONS = ControlOptions()
_STOP_WORDS = frozenset[str]().union(*STOP_WORDS.values())  # of every language: a prompt does not name its own


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlSupport:
    """Which controls act on a model."""

    attention: bool
    pool: bool
    reason: str  # why one of them does not act; empty where both do


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
        """`space`: what embedder.projection.space tells of the model."""
        self.name = name
        self.fingerprint = fingerprint
        self.space = space
        self.dimension = dimension
        self.matryoshka = folder.matryoshka  # dimensions that its vectors may be cut to
        self.max_tokens = tokenizer.max_tokens
        self.precision = backbone.precision
        self.support = _control_support(backbone, folder)
        self.tokenizer = tokenizer
        self._folder = folder
        self._backbone = backbone
        self._head = head
        self._batch_tokens = batch_tokens(backbone.device)
        self._turns = Turns(backbone, self._batch_tokens)

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

        Raises InvalidControl where a control cannot act on this model, or suppresses every token of a prompt.
        """
        prepared = self._prepare(prompts, representation, options)
        vectors = np.zeros((len(prompts), self.dimension), dtype=np.float32)
        with self._turns.staying(priority):
            for batch in token_budget_batches([len(p.tokens) for p in prepared], self._batch_tokens):
                members = [prepared[i] for i in batch]
                vectors[batch] = _unit(self._forward(members, options, priority)[1]).cpu().numpy()
                if progress is not None:
                    progress(len(batch))
        return Embeddings(
            vectors=vectors,
            token_counts=np.array([len(p.tokens) for p in prepared], dtype=np.int64),
            truncated=np.array([p.tokens.truncated for p in prepared], dtype=np.bool_),
        )

    def trace(
        self, prompts: Sequence[Prompt], representation: Representation, *, options: ControlOptions = DEFAULT_OPTIONS
    ) -> list[TokenTrace] | None:
        """The token vectors and pool weights that each prompt's embedding is the mean of, in the order of `prompts`.

        None where the embedding is not such a mean: the pooling is not `mean`, or a layer behind it is not linear.
        """
        if not self._folder.pooling.is_mean or not self._head.is_affine:
            return None
        prepared = self._prepare(prompts, representation, options)
        traces: list[TokenTrace | None] = [None] * len(prompts)
        for batch in token_budget_batches([len(p.tokens) for p in prepared], self._batch_tokens):
            members = [prepared[i] for i in batch]
            hidden, _, weights = self._forward(members, options)
            # The head is affine, so the mean of the tokens' images is the image of their mean.
            vectors, shares = self._head(hidden).cpu().numpy(), weights.cpu().numpy().astype(np.float64)
            end = 0
            for index in batch:
                tokens = prepared[index].tokens
                start, end = end, end + len(tokens)
                traces[index] = TokenTrace(
                    spans=tokens.spans,
                    special=tokens.special | tokens.prefix,
                    vectors=vectors[start:end],
                    weights=shares[start:end],
                )
        return [trace for trace in traces if trace is not None]

    def layers(
        self, prompt: Prompt, representation: Representation, *, options: ControlOptions, priority: Priority
    ) -> tuple[TokenizedPrompt, list[Tensor]]:
        """Fulfils embedder.layers.LayeredEncoder. The factors act on the attention alone: nothing is pooled here."""
        [prepared] = self._prepare([prompt], representation, options)
        if not len(prepared.tokens):
            raise InvalidInput("the model's tokenizer finds no token in the text")
        attention, _ = self._act([prepared], options)
        keys = None if attention is None else KeyFactors(values=attention, log_additive=options.log_additive)
        return prepared.tokens, self._turns.layers(prepared.tokens.ids, keys, priority)

    def token_spans(self, text: str) -> Int64Array:
        return self.tokenizer.spans(text)

    def overhead(self, representation: Representation) -> int:
        prefix = self._folder.prefixes[representation]
        return self.tokenizer.special_tokens + self.tokenizer.prefix_tokens(prefix)

    def _prepare(
        self, prompts: Sequence[Prompt], representation: Representation, options: ControlOptions
    ) -> list[_Prepared]:
        tokenized = self.tokenizer.tokenize(prompts, self._folder.prefixes[representation])
        return [
            _Prepared(tokens=tokens, factors=self._token_factors(prompt, tokens, options))
            for prompt, tokens in zip(prompts, tokenized, strict=True)
        ]

    def _token_factors(self, prompt: Prompt, tokens: TokenizedPrompt, options: ControlOptions) -> Float64Array | None:
        """(tokens,) the factor of each token; None where every factor is 1, so that nothing is touched at all."""
        if not prompt.steered:
            return None
        factors = np.ones(len(tokens))
        for index, item in enumerate(prompt.items):
            own = tokens.items == index
            match item:
                case TextItem():
                    factors[own] = span_factors(item.text, item.controls, tokens.spans[own])
                case TokenIdsItem():
                    factors[own] = index_factors(len(item.ids), item.controls)[: own.sum()]  # what the cut left
        if options.contextual_threshold is not None:
            eligible = ~(tokens.special | tokens.prefix | self._stop_words(prompt, tokens))
            vectors = self._backbone.word_vectors(tokens.ids)
            factors = spread_factors(factors, vectors, options.contextual_threshold, eligible)
        return None if (factors == 1).all() else factors

    def _stop_words(self, prompt: Prompt, tokens: TokenizedPrompt) -> BoolArray:
        """(tokens,) whether the token is a stop word of any language."""
        words = [
            item.text[start:end] if isinstance(item, TextItem) else self.tokenizer.text([int(id)])
            for item, (start, end), id in (
                (prompt.items[i], span, id) for i, span, id in zip(tokens.items, tokens.spans, tokens.ids, strict=True)
            )
        ]
        return np.array([normalize(word.strip()) in _STOP_WORDS for word in words], dtype=np.bool_)

    def _forward(
        self, members: Sequence[_Prepared], options: ControlOptions, priority: Priority = Priority.INTERACTIVE
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Token vectors (tokens, width), embeddings before scaling (texts, dimension), pool weights (tokens,)."""
        lengths = [len(member.tokens) for member in members]
        if 0 in lengths:
            raise InvalidInput("the model's tokenizer finds no token in the text")
        attention, pooled = self._act(members, options)
        keys = None if attention is None else KeyFactors(values=attention, log_additive=options.log_additive)
        hidden = self._turns.hidden([member.tokens.ids for member in members], keys, priority)
        with torch.inference_mode():
            prefixes = () if self._folder.pool_prefix else [member.tokens.prefix for member in members]
            weights = pool_weights(self._folder.pooling, lengths, pooled, hidden.device, prefixes)
            return hidden, self._head(pool(hidden, weights, lengths, self._folder.pooling)), weights

    def _act(self, members: Sequence[_Prepared], options: ControlOptions) -> tuple[Tensor | None, Tensor | None]:
        """The factors on the attention and on the pool, each (tokens,), None where it is not touched."""
        if all(member.factors is None for member in members):
            return None, None
        self._check_support(options.target)
        values = [np.ones(len(m.tokens)) if m.factors is None else m.factors for m in members]
        factors = torch.from_numpy(np.concatenate(values).astype(np.float32)).to(self._backbone.device)
        target = options.target
        attention = factors.clamp_max(AUTO_ATTENTION_LIMIT) if target is ControlTarget.AUTO else factors
        acts_on_attention = target is not ControlTarget.POOL and self.support.attention
        acts_on_pool = target is not ControlTarget.ATTENTION and self.support.pool
        return attention if acts_on_attention else None, factors if acts_on_pool else None

    def _check_support(self, target: ControlTarget) -> None:
        wanted = {
            ControlTarget.AUTO: self.support.attention or self.support.pool,
            ControlTarget.ATTENTION: self.support.attention,
            ControlTarget.POOL: self.support.pool,
            ControlTarget.BOTH: self.support.attention and self.support.pool,
        }
        if not wanted[target]:
            raise InvalidControl(
                f"model {self.name} does not take controls on {target.value}: {self.support.reason}",
                param="control_target",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prepared:
    tokens: TokenizedPrompt
    factors: Float64Array | None  # (tokens,), None: nothing is steered


def _control_support(backbone: Backbone, folder: ModelFolder) -> ControlSupport:
    pools = folder.pooling.is_mean
    problems = (backbone.attention_problem, "" if pools else "its pooling is not a mean over tokens")
    reason = "; ".join(problem for problem in problems if problem)
    return ControlSupport(attention=not backbone.attention_problem, pool=pools, reason=reason)


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=1)
