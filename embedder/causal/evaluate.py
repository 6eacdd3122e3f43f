"""Evaluates how likely a model is to continue a prompt with a given text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from core.errors import InvalidInput
from core.prompts import ControlOptions, Prompt
from core.protocols import Priority
from embedder.causal.model import CausalModel

DEFAULT_OPTIONS = ControlOptions()


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """How likely the expected completion is. All logarithms are natural."""

    log_probability: float  # of all tokens of the expected completion together, at most 0
    log_perplexity: float  # -log_probability: depends on the tokenizer and on the length
    log_perplexity_per_token: float
    log_perplexity_per_character: float
    correct_greedy: bool  # whether the most likely token is the expected one at every position
    token_count: int  # of the expected completion
    character_count: int  # of the expected completion, code points
    completion: str  # the most likely token at every position, given the expected tokens before it
    prompt_tokens: int


def evaluate(
    model: CausalModel,
    prompt: Prompt,
    expected: str,
    *,
    options: ControlOptions = DEFAULT_OPTIONS,
    priority: Priority = Priority.INTERACTIVE,
) -> Evaluation:
    """Evaluates `expected` as a continuation of `prompt` in one forward pass; `expected` is tokenized by itself.

    Raises InvalidInput if `expected` has no tokens, or if prompt and completion together do not fit into the model;
    Abandoned if nobody waits for the answer any more when its turn comes.
    """
    target = model.target_ids(expected)
    if not len(target):
        raise InvalidInput(
            "completion_expected has no tokens: give the text whose likelihood is asked for",
            param="completion_expected",
        )
    read = model.read(prompt, options)
    if len(read) + len(target) > model.max_tokens:
        raise InvalidInput(
            f"prompt and completion_expected have together more than the {model.max_tokens} tokens that model "
            f"{model.name} reads: shorten one of them",
            param="completion_expected",
        )
    ids = np.concatenate([read.ids, target])
    factors = None if read.factors is None else np.concatenate([read.factors, np.ones(len(target))])[None]
    # The logits after the prompt's last token predict the target's first token; those after its last are not needed.
    logits = model.logits(ids, factors, keep=len(target) + 1, log_additive=read.log_additive, priority=priority)[0, :-1]
    probabilities = torch.log_softmax(logits.double(), dim=-1).cpu().numpy()
    texts = model.texts
    best = [int(id) for id in texts.known_ids[probabilities[:, texts.known_ids].argmax(axis=-1)]]
    total = float(probabilities[np.arange(len(target)), target].sum())
    return Evaluation(
        log_probability=total,
        log_perplexity=-total,
        log_perplexity_per_token=-total / len(target),
        log_perplexity_per_character=-total / len(expected),
        correct_greedy=best == target.tolist(),
        token_count=len(target),
        character_count=len(expected),
        completion=texts.after(read.ids.tolist(), best),
        prompt_tokens=len(read),
    )
