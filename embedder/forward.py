"""Prompts to the token vectors of a backbone, batch by batch: what models of several outputs have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.errors import InvalidControl, InvalidInput
from core.prompts import ControlOptions, ControlTarget, Prompt
from core.protocols import Priority, Progress
from core.records import BoolArray, Float64Array, Int64Array, Representation
from embedder.backbone import Backbone, KeyFactors
from embedder.batching import batch_tokens, token_budget_batches
from embedder.local import AUTO_ATTENTION_LIMIT
from embedder.promptfactors import prompt_factors
from embedder.tokens import TextTokenizer, TokenizedPrompt
from embedder.turns import Turns


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedPrompt:
    """A prompt as the model reads it."""

    tokens: TokenizedPrompt
    factors: Float64Array | None  # (tokens,); None: nothing is steered


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenVectors:
    """What the backbone made of one prompt."""

    tokens: TokenizedPrompt
    vectors: Tensor  # (tokens, width)
    factors: Tensor | None  # (tokens,) >= 0, how much each token counts in a pool; None: all alike


class Forward:
    """A tokenizer and a backbone. Thread-safe: callers take turns at the backbone, as embedder.turns says."""

    def __init__(
        self, *, name: str, prefixes: Mapping[Representation, str], tokenizer: TextTokenizer, backbone: Backbone
    ) -> None:
        self.tokenizer = tokenizer
        self.backbone = backbone
        self._name = name
        self._prefixes = prefixes
        self._batch_tokens = batch_tokens(backbone.device)
        self._turns = Turns(backbone, self._batch_tokens)

    def prepare(
        self, prompts: Sequence[Prompt], representation: Representation, options: ControlOptions
    ) -> list[PreparedPrompt]:
        """Raises InvalidInput for a prompt without tokens, InvalidControl for controls that cannot act as asked."""
        tokenized = self.tokenizer.tokenize(prompts, self._prefixes[representation])
        if any(len(tokens) == 0 for tokens in tokenized):
            raise InvalidInput("the model's tokenizer finds no token in the text")
        prepared = [
            PreparedPrompt(
                tokens=tokens,
                factors=prompt_factors(prompt, tokens, options, self.tokenizer, self.backbone.word_vectors),
            )
            for prompt, tokens in zip(prompts, tokenized, strict=True)
        ]
        if any(prompt.factors is not None for prompt in prepared):
            self._check_target(options.target)
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
        """Calls `read(index, vectors)` for every prompt, longest first, in inference mode."""
        with self._turns.staying(priority), torch.inference_mode():
            for indices in token_budget_batches([len(prompt.tokens) for prompt in prepared], self._batch_tokens):
                members = [prepared[i] for i in indices]
                for index, vectors in zip(indices, self._vectors(members, options, priority), strict=True):
                    read(index, vectors)
                if progress is not None:
                    progress(len(indices))

    def overhead(self, representation: Representation) -> int:
        """Tokens that every prompt costs beside its own."""
        return self.tokenizer.special_tokens + self.tokenizer.prefix_tokens(self._prefixes[representation])

    def _vectors(
        self, members: Sequence[PreparedPrompt], options: ControlOptions, priority: Priority
    ) -> list[TokenVectors]:
        attention = pool = None
        if any(member.factors is not None for member in members):
            values = [np.ones(len(m.tokens)) if m.factors is None else m.factors for m in members]
            factors = torch.from_numpy(np.concatenate(values).astype(np.float32)).to(self.backbone.device)
            attention, pool = self._act(factors, options.target)
        keys = None if attention is None else KeyFactors(values=attention, log_additive=options.log_additive)
        hidden = self._turns.hidden([member.tokens.ids for member in members], keys, priority)
        lengths = [len(member.tokens) for member in members]
        shares = [None] * len(members) if pool is None else torch.split(pool, lengths)
        return [
            TokenVectors(tokens=member.tokens, vectors=vectors, factors=share)
            for member, vectors, share in zip(members, torch.split(hidden, lengths), shares, strict=True)
        ]

    def _act(self, factors: Tensor, target: ControlTarget) -> tuple[Tensor | None, Tensor | None]:
        """The factors on the attention and on the pool, None where a factor does not act."""
        attention = factors.clamp_max(AUTO_ATTENTION_LIMIT) if target is ControlTarget.AUTO else factors
        steers = target is not ControlTarget.POOL and not self.backbone.attention_problem
        return attention if steers else None, None if target is ControlTarget.ATTENTION else factors

    def _check_target(self, target: ControlTarget) -> None:
        if target in (ControlTarget.ATTENTION, ControlTarget.BOTH) and self.backbone.attention_problem:
            raise InvalidControl(
                f"model {self._name} does not take controls on {target.value}: {self.backbone.attention_problem}",
                param="control_target",
            )


def token_counts(prepared: Sequence[PreparedPrompt]) -> Int64Array:
    """(prompts,) tokens that the model reads."""
    return np.array([len(prompt.tokens) for prompt in prepared], dtype=np.int64)


def truncated(prepared: Sequence[PreparedPrompt]) -> BoolArray:
    """(prompts,) whether tokens were cut off."""
    return np.array([prompt.tokens.truncated for prompt in prepared], dtype=np.bool_)
