"""The request and the result of a completion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from core.errors import InvalidInput
from core.prompts import ControlOptions, Prompt

MAX_CANDIDATES = 100
MAX_LOG_PROBS = 100
MAX_CHARACTERS = 100_000  # of all stop sequences, exceptions or biases of a kind: every token is compared with them
MAX_STRENGTH = 1e9  # largest absolute penalty or bias: far above any logit, far below the overflow of float64


class FinishReason(StrEnum):
    """Why a completion ended."""

    MAXIMUM_TOKENS = "maximum_tokens"
    END_OF_TEXT = "end_of_text"
    STOP_SEQUENCE = "stop_sequence_reached"


@dataclass(frozen=True, kw_only=True, slots=True)
class Penalty:
    """A penalty on repeated tokens: 0 changes nothing, above 0 makes them rarer, below 0 likelier."""

    value: float = 0.0
    multiplicative: bool = False  # the value must then be above -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """A prompt to continue and the parameters of the completion. Raises InvalidInput that names the invalid field.

    `temperature`, `top_k` and `top_p` act in this order. With all three at 0 the most likely token is chosen each time;
    if only the temperature is 0, the logits are not rescaled.
    """

    prompt: Prompt
    options: ControlOptions = field(default_factory=ControlOptions)
    maximum_tokens: int | None = 64  # 0 or more; None: as many as the model has room for
    minimum_tokens: int = 0  # no end-of-text token before so many tokens; stop sequences still stop
    temperature: float = 0.0
    top_k: int = 0  # 0: off
    top_p: float = 0.0  # 0: off
    n: int = 1  # completions to return
    best_of: int | None = None  # completions to generate; the n with the highest log probability per token are kept
    seed: int | None = None  # None: a fresh one for each call
    stop_sequences: tuple[str, ...] = ()
    echo: bool = False  # prepend the prompt to the completion, also in its tokens and log probabilities
    log_probs: int | None = None  # None: none; 0: of each token; k: also of the k likeliest tokens
    tokens: bool = False  # return the completion's tokens
    raw_completion: bool = False  # also return the text of all generated tokens: without prompt, with stop sequence
    disable_optimizations: bool = False  # accepted but without effect: prompts and completions are never rewritten
    presence_penalty: Penalty = Penalty()
    frequency_penalty: Penalty = Penalty()
    sequence_penalty: Penalty = Penalty()
    sequence_penalty_min_length: int = 2  # tokens, 2 or more
    penalties_include_prompt: bool = False
    penalties_include_completion: bool = True
    penalty_bias: str | None = None  # a text whose tokens count as already generated
    penalty_exceptions: tuple[str, ...] = ()
    penalty_exceptions_include_stop_sequences: bool = True
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # by token id
    bias_inclusion: tuple[str, ...] = ()
    bias_inclusion_first_token_only: bool = False
    bias_exclusion: tuple[str, ...] = ()
    bias_exclusion_first_token_only: bool = False

    def __post_init__(self) -> None:
        self._check_counts()
        self._check_sampling()
        for name in ("presence_penalty", "frequency_penalty", "sequence_penalty"):
            penalty: Penalty = getattr(self, name)
            holds = abs(penalty.value) <= MAX_STRENGTH and (penalty.value > -1 or not penalty.multiplicative)
            _require(holds, name, penalty.value, f"{_STRENGTHS}, and above -1 where it is multiplicative")
        for name in ("stop_sequences", "penalty_exceptions", "bias_inclusion", "bias_exclusion"):
            texts, param = getattr(self, name), _WIRE.get(name, name)
            if "" in texts:
                raise InvalidInput(f"{param} holds an empty text", param=param)
            if (length := sum(map(len, texts))) > MAX_CHARACTERS:
                raise InvalidInput(
                    f"{param} has {length} characters in all: at most {MAX_CHARACTERS} are allowed", param=param
                )
        for i, wanted in enumerate(self.bias_inclusion):
            for j, unwanted in enumerate(self.bias_exclusion):
                if wanted.startswith(unwanted) or unwanted.startswith(wanted):
                    raise InvalidInput(
                        f"completion_bias_inclusion[{i}] and completion_bias_exclusion[{j}]: "
                        "neither may be a prefix of the other",
                        param="completion_bias_exclusion",
                    )
        for id, bias in self.logit_bias.items():
            _require(abs(bias) <= MAX_STRENGTH, "logit_bias", f"{bias} for token {id}", _STRENGTHS)

    @property
    def candidates(self) -> int:
        """Completions to generate."""
        return self.n if self.best_of is None else self.best_of

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is chosen each time."""
        return self.temperature == 0 and self.top_k == 0 and self.top_p == 0

    def _check_counts(self) -> None:
        allowed = f"must be from 1 to {MAX_CANDIDATES}"
        _require(1 <= self.n <= MAX_CANDIDATES, "n", self.n, allowed)
        if self.best_of is not None:
            _require(1 <= self.best_of <= MAX_CANDIDATES, "best_of", self.best_of, allowed)
            _require(self.best_of >= self.n, "best_of", self.best_of, f"must not be below n = {self.n}")
        maximum = self.maximum_tokens
        _require(maximum is None or maximum >= 0, "maximum_tokens", maximum, "must be 0 or more")
        within = self.minimum_tokens >= 0 and (maximum is None or self.minimum_tokens <= maximum)
        _require(within, "minimum_tokens", self.minimum_tokens, "must be from 0 to maximum_tokens")
        if self.log_probs is not None:
            _require(0 <= self.log_probs <= MAX_LOG_PROBS, "log_probs", self.log_probs, f"0 to {MAX_LOG_PROBS}")
        length = self.sequence_penalty_min_length
        _require(length >= 2, "sequence_penalty_min_length", length, "must be 2 or more")

    def _check_sampling(self) -> None:
        temperature = self.temperature
        _require(math.isfinite(temperature) and temperature >= 0, "temperature", temperature, "must be 0 or more")
        _require(self.top_k >= 0, "top_k", self.top_k, "must be 0 or more")
        _require(0 <= self.top_p <= 1, "top_p", self.top_p, "must be from 0 to 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletedText:
    """One completion. Fields that were not asked for are None."""

    completion: str  # up to the stop sequence and without it; with `echo` after the prompt
    finish_reason: FinishReason
    tokens: tuple[str, ...] | None  # of `completion`, and the end-of-text token if one was generated
    log_probs: tuple[Mapping[str, float | None], ...] | None  # natural, by token; None if no token precedes it
    raw_completion: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletionResult:
    """`n` completions; with `best_of` the best first."""

    completions: tuple[CompletedText, ...]
    prompt_tokens: int  # counted once for each generated completion
    generated_tokens: int  # of all generated completions, returned or not


_STRENGTHS = f"must be a number from {-MAX_STRENGTH:.0e} to {MAX_STRENGTH:.0e}"
_WIRE = {"bias_inclusion": "completion_bias_inclusion", "bias_exclusion": "completion_bias_exclusion"}


def _require(holds: bool, param: str, value: object, allowed: str) -> None:
    if not holds:
        raise InvalidInput(f"{param} {value}: {allowed}", param=param)
