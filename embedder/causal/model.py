"""A causal language model from a Hugging Face folder: prompts to token ids, and token ids to logits, with controls.

There is no padding: all rows of a batch have the same length, so a row is computed as it would be alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel

from core.context import models_read
from core.errors import InvalidControl, InvalidInput
from core.prompts import ControlOptions, ControlTarget, Prompt
from core.protocols import Priority
from core.records import Float32Array, Float64Array, Int64Array
from embedder.causal.pieces import TokenTexts
from embedder.fingerprints import network_fingerprint
from embedder.generic import BatchFactors, GenericBackbone, position_limit, steered
from embedder.modelfolder import require_tokenizer, token_limit, weights_sha256
from embedder.modelqueue import ModelQueue
from embedder.pretrained import load_pretrained
from embedder.promptfactors import prompt_factors
from embedder.tokens import NO_ITEM, TextTokenizer, TokenizedPrompt, load_tokenizer

# The tokenizer keeps this many tokens beyond the model's limit, special ones included, so that a prompt which does not
# fit is noticed and refused.
_SPARE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadPrompt:
    """A prompt as the model reads it."""

    ids: Int64Array  # (tokens,) at least one
    items: Int64Array  # (tokens,) index of the prompt's item that the token came from, -1 for special tokens
    factors: Float64Array | None  # (tokens,); None: nothing is steered
    log_additive: bool  # as ControlOptions.log_additive

    def __len__(self) -> int:
        return len(self.ids)


class CausalModel:
    """A loaded causal language model with its tokenizer.

    Thread-safe: one forward pass runs at a time, more urgent ones first.
    """

    def __init__(
        self, *, name: str, model: PreTrainedModel, tokenizer: TextTokenizer, fingerprint: str, max_tokens: int
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.max_tokens = max_tokens  # of prompt and completion together
        self.tokenizer = tokenizer
        self.end_ids = _token_ids(model, "eos_token_id")  # tokens that end a text
        self.attention_problem = _attention_problem(model)  # why controls cannot act; empty if they can
        self._start_ids = _token_ids(model, "bos_token_id") or self.end_ids
        self._model = model
        self._queue = ModelQueue()  # separate from other models, as its passes may take seconds
        self.observe = self._queue.observe  # as in core.protocols.Observable
        self.waiting = self._queue.waiting
        self.vocabulary = int(model.config.get_text_config().vocab_size)
        self.texts = TokenTexts(tokenizer, self.vocabulary)

    def read(self, prompt: Prompt, options: ControlOptions) -> ReadPrompt:
        """The prompt's tokens and their factors, without the special tokens that the tokenizer appends to a text.

        A prompt without tokens becomes the token that starts a text (unconditional completion). The controls act on
        the attention only, as such a model has no pool. Raises InvalidInput for an image, an unknown token id, a
        prompt that does not fit into `max_tokens`, or an empty prompt if the model has no start token; InvalidControl
        for a steered prompt if the model takes no controls or the control target is the pool.
        """
        tokens = self.tokens(prompt)
        if len(tokens) > self.max_tokens:
            raise InvalidInput(
                f"the prompt has more than the {self.max_tokens} tokens that model {self.name} reads",
                param="prompt",
            )
        if not len(tokens) and not self._start_ids:
            raise InvalidInput(
                f"the prompt is empty, and model {self.name} has no token to start a text with: give some text",
                param="prompt",
            )
        return ReadPrompt(
            ids=tokens.ids if len(tokens) else np.array(sorted(self._start_ids)[:1], dtype=np.int64),
            items=tokens.items if len(tokens) else np.array([NO_ITEM], dtype=np.int64),
            factors=self.factors(prompt, tokens, options),
            log_additive=options.log_additive,
        )

    def tokens(self, prompt: Prompt) -> TokenizedPrompt:
        """The tokens of all items, with the special tokens before them but not those after them."""
        [whole] = self.tokenizer.tokenize([prompt])
        end = len(whole) - self.tokenizer.special_after
        return TokenizedPrompt(
            ids=whole.ids[:end],
            items=whole.items[:end],
            spans=whole.spans[:end],
            special=whole.special[:end],
            prefix=whole.prefix[:end],
            truncated=False,
        )

    def target_ids(self, text: str) -> Int64Array:
        """(tokens,) int64: the ids of a text that follows a prompt, tokenized by itself.

        A text that is too long is cut, but still has more than `max_tokens` tokens.
        """
        return np.asarray(self.tokenizer.first_ids(text, self.max_tokens + 1), dtype=np.int64)

    def factors(self, prompt: Prompt, tokens: TokenizedPrompt, options: ControlOptions) -> Float64Array | None:
        """(tokens,) the factors of the prompt's controls; None if all are 1. Raises InvalidControl as in `read`."""
        factors = prompt_factors(prompt, tokens, options, self.tokenizer, self._word_vectors)
        if factors is not None and options.target is ControlTarget.POOL:
            raise InvalidControl(
                f"model {self.name} has no pool that controls could act on: allowed are auto, attention and both",
                param="control_target",
            )
        if factors is not None and self.attention_problem:
            raise InvalidControl(
                f"model {self.name} does not take controls: {self.attention_problem}", param="controls"
            )
        return factors

    def logits(
        self,
        ids: Int64Array,
        factors: Float32Array | None,
        *,
        keep: int,
        log_additive: bool = True,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Tensor:
        """(rows, keep, vocabulary) float32: the logits after each of the last `keep` tokens.

        `ids` (tokens,) are the same for all rows; `factors` (rows, tokens) differ by row. None: one row, not steered.
        Raises Abandoned if nobody waits for the answer any more when its turn comes.
        """
        rows = 1 if factors is None else len(factors)
        tokens = torch.from_numpy(ids).to(self._model.device).expand(rows, -1)
        batch = None if factors is None else self._batch_factors(factors, log_additive)
        return self._logits(tokens, batch, keep, priority)

    def continuation(self, prompt: ReadPrompt, *, keep: int, priority: Priority) -> Continuation:
        """Reads `prompt` for generation token by token; `keep`: number of its last tokens whose logits are kept."""
        return Continuation(self, prompt, keep, priority)

    def _batch_factors(self, factors: Float32Array, log_additive: bool) -> BatchFactors:
        values = torch.from_numpy(np.ascontiguousarray(factors, dtype=np.float32)).to(self._model.device)
        return BatchFactors(values=values, log_additive=log_additive)

    def _logits(
        self,
        tokens: Tensor,
        factors: BatchFactors | None,
        keep: int,
        priority: Priority,
        cache: DynamicCache | None = None,
    ) -> Tensor:
        turn = self._queue.turn(priority, texts=len(tokens), tokens=tokens.numel())
        with turn, torch.inference_mode(), steered(factors):
            found = self._model(
                input_ids=tokens, past_key_values=cache, use_cache=cache is not None, logits_to_keep=keep
            )
        models_read(tokens.numel())
        logits: Tensor = found.logits
        return logits.float()

    def _word_vectors(self, ids: Int64Array) -> Float32Array:
        with torch.inference_mode():
            words: Tensor = self._model.get_input_embeddings()(torch.from_numpy(ids).to(self._model.device))
        found: Float32Array = words.float().cpu().numpy()
        return found


class Continuation:
    """The cached keys and values of a prompt and of the tokens generated after it, for one or several rows."""

    def __init__(self, model: CausalModel, prompt: ReadPrompt, keep: int, priority: Priority) -> None:
        self._model = model
        self._priority = priority
        # Created without the model's configuration: then sliding windows are masked rather than cut off, and every
        # layer has as many keys as there are factors.
        self._cache = DynamicCache()
        self._log_additive = prompt.log_additive
        self._factors = None if prompt.factors is None else prompt.factors[None].astype(np.float32)
        ids = torch.from_numpy(prompt.ids).to(model._model.device)[None]
        self.prompt_logits = self._forward(ids, keep)[0]  # (keep, vocabulary) after the prompt's last tokens

    def repeat(self, rows: int) -> None:
        """Continues with `rows` copies of the one row."""
        if rows > 1:
            self._cache.batch_repeat_interleave(rows)
        if self._factors is not None:
            self._factors = np.repeat(self._factors, rows, axis=0)

    def select(self, rows: Sequence[int]) -> None:
        """Continues with these rows only."""
        self._cache.batch_select_indices(torch.tensor(rows, device=self._model._model.device))
        if self._factors is not None:
            self._factors = self._factors[list(rows)]

    def step(self, ids: Sequence[int]) -> Tensor:
        """Appends one token to each row; returns the logits after it, (rows, vocabulary) float32."""
        if self._factors is not None:
            ones = np.ones((len(ids), 1), dtype=np.float32)
            self._factors = np.concatenate([self._factors, ones], axis=1)
        return self._forward(torch.tensor(ids, device=self._model._model.device)[:, None], 1)[:, 0]

    def _forward(self, tokens: Tensor, keep: int) -> Tensor:
        model = self._model
        factors = None if self._factors is None else model._batch_factors(self._factors, self._log_additive)
        return model._logits(tokens, factors, keep, self._priority, self._cache)


def load_causal(folder: Path, *, name: str | None = None, device: torch.device) -> CausalModel:
    """Loads the causal language model of a Hugging Face folder in float32, under `name` (None: the folder's name).

    Nothing is downloaded. Raises ModelError if the folder, its tokenizer or its weights cannot be used.
    """
    weights = weights_sha256(folder)
    require_tokenizer(folder)
    model = load_pretrained(AutoModelForCausalLM, folder, device, lacking="they hold no trained language model")
    max_tokens = token_limit(folder, position_limit(model.config))
    definition, tokenizer = load_tokenizer(folder, max_tokens + _SPARE)
    return CausalModel(
        name=name or folder.resolve().name,
        model=model,
        tokenizer=tokenizer,
        fingerprint=network_fingerprint(folder, weights, definition, max_tokens),
        max_tokens=max_tokens,
    )


def _attention_problem(model: PreTrainedModel) -> str:
    """Switches the model to the steerable attention; returns why that is not possible, or an empty string."""
    network = model.base_model
    assert isinstance(network, PreTrainedModel)
    return GenericBackbone(network).attention_problem


def _token_ids(model: PreTrainedModel, name: str) -> frozenset[int]:
    """The ids of a special token from the generation configuration, or else from the model's configuration."""
    configs: list[Any] = [model.generation_config, model.config.get_text_config()]
    value = next((found for c in configs if (found := getattr(c, name, None)) is not None), None)
    return frozenset(value if isinstance(value, list) else [] if value is None else [value])
