"""The local encoder: a torch model on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.errors import InvalidControl
from core.prompts import ControlOptions, ControlTarget, Prompt
from core.protocols import Progress
from core.records import BoolArray, Embeddings, Float64Array, Int64Array, Representation, TokenTrace
from embedder.attention import KeyFactors, steered
from embedder.batching import token_budget_batches
from embedder.contextual import spread_factors
from embedder.factors import span_factors
from embedder.lexical.stopwords import STOP_WORDS
from embedder.lexical.words import normalize
from embedder.modelfolder import ModelFolder, Pooling
from embedder.pooling import DenseHead, pool, pool_weights
from embedder.probe import ControlSupport
from embedder.tokens import TextTokenizer, TokenizedText

BATCH_TOKENS = 2048  # tokens of a batch, padding included: measured best for small models on two cores
AUTO_ATTENTION_LIMIT = 2.0  # attention alone backfires above this factor (docs/steering.md)
DEFAULT_OPTIONS = ControlOptions()
_STOP_WORDS = frozenset[str]().union(*STOP_WORDS.values())  # of every language: a prompt does not name its own


class LocalEncoder:
    """A transformer with its tokenizer, pooling and dense head. Fulfils core.protocols.Encoder; thread-safe."""

    def __init__(
        self,
        *,
        name: str,
        folder: ModelFolder,
        model: torch.nn.Module,
        tokenizer: TextTokenizer,
        head: DenseHead,
        fingerprint: str,
        dimension: int,
        support: ControlSupport,
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.dimension = dimension
        self.max_tokens = tokenizer.max_tokens
        self.support = support
        self._folder = folder
        self._model = model
        self._tokenizer = tokenizer
        self._head = head
        self._device = next(model.parameters()).device

    def encode(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = DEFAULT_OPTIONS,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Vectors (prompts, dimension) float32 of unit length, in the order of `prompts`.

        Raises InvalidControl where a control cannot act on this model, or suppresses every token of a prompt.
        """
        prepared = self._prepare(prompts, representation, options)
        vectors = np.zeros((len(prompts), self.dimension), dtype=np.float32)
        for batch in token_budget_batches([len(p.tokens) for p in prepared], BATCH_TOKENS):
            members = [prepared[i] for i in batch]
            vectors[batch] = _unit(self._forward(members, options)[1]).cpu().numpy()
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
        if self._folder.pooling is not Pooling.MEAN or not self._head.is_affine:
            return None
        prepared = self._prepare(prompts, representation, options)
        traces: list[TokenTrace | None] = [None] * len(prompts)
        for batch in token_budget_batches([len(p.tokens) for p in prepared], BATCH_TOKENS):
            members = [prepared[i] for i in batch]
            hidden, _, weights = self._forward(members, options)
            vectors = self._head(hidden).float().cpu().numpy()
            for row, index in enumerate(batch):
                tokens = prepared[index].tokens
                traces[index] = TokenTrace(
                    spans=tokens.spans,
                    special=tokens.special | tokens.prefix,
                    vectors=vectors[row, : len(tokens)],
                    weights=weights[row, : len(tokens)].cpu().numpy().astype(np.float64),
                )
        return [trace for trace in traces if trace is not None]

    def token_spans(self, text: str) -> Int64Array:
        return self._tokenizer.spans(text)

    def overhead(self, representation: Representation) -> int:
        prefix = self._folder.prefixes[representation]
        return self._tokenizer.special_tokens + self._tokenizer.prefix_tokens(prefix)

    def _prepare(
        self, prompts: Sequence[Prompt], representation: Representation, options: ControlOptions
    ) -> list[_Prepared]:
        tokenized = self._tokenizer.tokenize([p.text for p in prompts], self._folder.prefixes[representation])
        return [
            _Prepared(tokens=tokens, factors=self._token_factors(prompt, tokens, options))
            for prompt, tokens in zip(prompts, tokenized, strict=True)
        ]

    def _token_factors(self, prompt: Prompt, tokens: TokenizedText, options: ControlOptions) -> Float64Array | None:
        """(tokens,) the factor of each token; None where every factor is 1, so that nothing is touched at all."""
        if all(control.factor == 1 for control in prompt.controls):
            return None
        factors = span_factors(prompt.text, prompt.controls, tokens.spans)
        if options.contextual_threshold is not None:
            words = self._model.get_input_embeddings().weight[torch.as_tensor(tokens.ids)]  # type: ignore[operator]
            eligible = _content_tokens(prompt.text, tokens)
            vectors = words.detach().float().cpu().numpy()
            factors = spread_factors(factors, vectors, options.contextual_threshold, eligible)
        return None if (factors == 1).all() else factors

    def _forward(self, members: Sequence[_Prepared], options: ControlOptions) -> tuple[Tensor, Tensor, Tensor]:
        """Token vectors (batch, tokens, width), embeddings before scaling (batch, dimension), pool weights."""
        longest = max(len(m.tokens) for m in members)
        ids = torch.zeros((len(members), longest), dtype=torch.long)
        mask = torch.zeros((len(members), longest), dtype=torch.bool)
        for row, member in enumerate(members):
            ids[row, : len(member.tokens)] = torch.from_numpy(member.tokens.ids)
            mask[row, : len(member.tokens)] = True
        attention, pooled = self._act(members, longest, options)
        keys = (
            None
            if attention is None
            else KeyFactors(values=attention.to(self._device), log_additive=options.log_additive)
        )
        ids, mask = ids.to(self._device), mask.to(self._device)
        with torch.inference_mode(), steered(keys):
            hidden = self._model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            weights = pool_weights(self._folder.pooling, mask, None if pooled is None else pooled.to(self._device))
            if not self._folder.pool_prefix:
                weights = weights * _unprefixed(members, longest).to(self._device)
            if bool((weights.sum(dim=1) <= 0).any()):
                raise InvalidControl("the controls suppress every token of the text", param="controls")
            return hidden, self._head(pool(hidden, weights)).float(), weights

    def _act(
        self, members: Sequence[_Prepared], longest: int, options: ControlOptions
    ) -> tuple[Tensor | None, Tensor | None]:
        """The factors on the attention and on the pool, each (batch, longest), None where it is not touched."""
        if all(m.factors is None for m in members):
            return None, None
        self._check_support(options.target)
        factors = torch.ones((len(members), longest))
        for row, member in enumerate(members):
            if member.factors is not None:
                factors[row, : len(member.tokens)] = torch.from_numpy(member.factors.astype(np.float32))
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
    tokens: TokenizedText
    factors: Float64Array | None  # (tokens,), None: nothing is steered


def _content_tokens(text: str, tokens: TokenizedText) -> BoolArray:
    words = [text[start:end].strip() for start, end in tokens.spans]
    stop = np.array([normalize(word) in _STOP_WORDS for word in words], dtype=np.bool_)
    return ~(tokens.special | tokens.prefix | stop)


def _unprefixed(members: Sequence[_Prepared], longest: int) -> Tensor:
    keep = torch.ones((len(members), longest))
    for row, member in enumerate(members):
        keep[row, : len(member.tokens)] = torch.from_numpy(~member.tokens.prefix).float()
    return keep


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=1)
