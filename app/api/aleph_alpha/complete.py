"""/complete and /evaluate: text generation by a causal language model, and the likelihood it gives to a text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator, FailFast, Field
from pydantic_core import PydanticCustomError

from app.api.aleph_alpha.bodies import Answer, JsonBody, SteeredBody
from app.api.aleph_alpha.names import causal_names, model_version
from app.api.aleph_alpha.prompts import PromptBody, to_prompt
from app.api.bodies import parsed
from app.api.dependencies import Parts
from app.models import Models
from core.errors import InvalidInput
from embedder.kinds import ModelKind

if TYPE_CHECKING:
    from embedder.causal.model import CausalModel
    from embedder.causal.request import CompletedText, Completion

router = APIRouter()

MAX_DIGITS = 10  # of a token id
MAX_TEXTS = 1_000  # stop sequences, exceptions or biases of one request
Texts = Annotated[list[Annotated[str, Field(max_length=10_000)]], FailFast(), Field(max_length=MAX_TEXTS)]


def _by_token_id(value: Any) -> Any:
    """Convert an object's keys to token ids. Checked here: pydantic's own error would repeat a key, however long."""
    if not isinstance(value, dict):
        return value
    if not all(key.isascii() and key.isdigit() and len(key) <= MAX_DIGITS for key in value):
        raise PydanticCustomError("token_id", "every key must be a token id")
    return {int(key): bias for key, bias in value.items()}


class CompletionRequest(SteeredBody):
    """The fields are documented by the clients; embedder.causal.request has their ranges."""

    model: str
    prompt: PromptBody
    maximum_tokens: int | None = None  # None: as many as fit into the context
    minimum_tokens: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    sequence_penalty: float = 0.0
    sequence_penalty_min_length: int = 2
    use_multiplicative_presence_penalty: bool = False
    use_multiplicative_frequency_penalty: bool = False
    use_multiplicative_sequence_penalty: bool = False
    repetition_penalties_include_prompt: bool = False
    repetition_penalties_include_completion: bool = True
    penalty_bias: Annotated[str, Field(max_length=10_000)] | None = None
    penalty_exceptions: Texts = Field(default_factory=list)
    penalty_exceptions_include_stop_sequences: bool = True
    best_of: int | None = None
    n: int = 1
    logit_bias: Annotated[dict[int, float], BeforeValidator(_by_token_id)] = Field(default_factory=dict)
    log_probs: int | None = None
    stop_sequences: Texts = Field(default_factory=list)
    tokens: bool = False
    raw_completion: bool = False
    disable_optimizations: bool = False
    echo: bool = False
    completion_bias_inclusion: Texts = Field(default_factory=list)
    completion_bias_inclusion_first_token_only: bool = False
    completion_bias_exclusion: Texts = Field(default_factory=list)
    completion_bias_exclusion_first_token_only: bool = False
    stream: bool = False
    steering_concepts: Texts = Field(default_factory=list)

    def to_completion(self) -> Completion:
        """The request to the model. Raises InvalidInput."""
        from embedder.causal.request import Completion, Penalty  # torch takes seconds to import

        if self.steering_concepts:
            raise InvalidInput("steering_concepts: there are none here; steer by controls", param="steering_concepts")
        return Completion(
            prompt=to_prompt(self.prompt),
            options=self.options(),
            maximum_tokens=self.maximum_tokens,
            minimum_tokens=self.minimum_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            n=self.n,
            best_of=self.best_of,
            stop_sequences=tuple(self.stop_sequences),
            echo=self.echo,
            log_probs=self.log_probs,
            tokens=self.tokens,
            raw_completion=self.raw_completion,
            disable_optimizations=self.disable_optimizations,
            presence_penalty=Penalty(
                value=self.presence_penalty, multiplicative=self.use_multiplicative_presence_penalty
            ),
            frequency_penalty=Penalty(
                value=self.frequency_penalty, multiplicative=self.use_multiplicative_frequency_penalty
            ),
            sequence_penalty=Penalty(
                value=self.sequence_penalty, multiplicative=self.use_multiplicative_sequence_penalty
            ),
            sequence_penalty_min_length=self.sequence_penalty_min_length,
            penalties_include_prompt=self.repetition_penalties_include_prompt,
            penalties_include_completion=self.repetition_penalties_include_completion,
            penalty_bias=self.penalty_bias,
            penalty_exceptions=tuple(self.penalty_exceptions),
            penalty_exceptions_include_stop_sequences=self.penalty_exceptions_include_stop_sequences,
            logit_bias=self.logit_bias,
            bias_inclusion=tuple(self.completion_bias_inclusion),
            bias_inclusion_first_token_only=self.completion_bias_inclusion_first_token_only,
            bias_exclusion=tuple(self.completion_bias_exclusion),
            bias_exclusion_first_token_only=self.completion_bias_exclusion_first_token_only,
        )


class EvaluationRequest(SteeredBody):
    model: str
    prompt: PromptBody
    completion_expected: str


class Completions(Answer):
    completions: list[dict[str, Any]]
    num_tokens_prompt_total: int
    num_tokens_generated: int
    optimized_prompt: None = None  # nothing here rewrites prompts


class Evaluation(Answer):
    result: dict[str, float | int | bool | str]
    num_tokens_prompt_total: int
    message: None = None


@router.post("/complete", response_model=Completions)
def complete(parts: Parts, body: JsonBody) -> Completions | StreamingResponse:
    """Continue a prompt. With `stream`, the answer is sent as server-sent events, once it is complete."""
    asked = parsed(CompletionRequest, body)
    model = causal_model(parts.models, asked.model)
    from embedder.causal.complete import complete as completed

    found = completed(model, asked.to_completion())
    whole = Completions(
        model_version=model_version(model),
        completions=[_completion(text) for text in found.completions],
        num_tokens_prompt_total=found.prompt_tokens,
        num_tokens_generated=found.generated_tokens,
    )
    return StreamingResponse(_events(whole), media_type="text/event-stream") if asked.stream else whole


@router.post("/evaluate")
def evaluate(parts: Parts, body: JsonBody) -> Evaluation:
    """How likely the model finds a given completion."""
    asked = parsed(EvaluationRequest, body)
    model = causal_model(parts.models, asked.model)
    from embedder.causal.evaluate import evaluate as evaluated

    prompt = to_prompt(asked.prompt)
    found = evaluated(model, prompt, asked.completion_expected, options=asked.options())
    return Evaluation(
        model_version=model_version(model),
        result={
            "log_probability": found.log_probability,
            "log_perplexity": found.log_perplexity,
            "log_perplexity_per_token": found.log_perplexity_per_token,
            "log_perplexity_per_character": found.log_perplexity_per_character,
            "correct_greedy": found.correct_greedy,
            "token_count": found.token_count,
            "character_count": found.character_count,
            "completion": found.completion,
        },
        num_tokens_prompt_total=found.prompt_tokens,
    )


def causal_model(models: Models, name: str) -> CausalModel:
    """The causal language model of this name.

    Raises ModelNotFound, ModelError, and for a model of another kind InvalidInput, which says how to configure one.
    """
    if models.describe(name).kind is not ModelKind.CAUSAL:
        there = causal_names(models)
        advice = (
            f"ask for one of {', '.join(there)}"
            if there
            else "none is configured: set SALIENCE_MODELS__NAME__FOLDER to the folder of a Hugging Face model, and ask "
            "for it by NAME, in lower case"
        )
        raise InvalidInput(f"model {name} is no causal language model: {advice}", param="model")
    return models.causal_model(name)


def _completion(text: CompletedText) -> dict[str, Any]:
    return {
        "completion": text.completion,
        "finish_reason": text.finish_reason.value,
        "log_probs": text.log_probs,
        "completion_tokens": text.tokens,
        "raw_completion": text.raw_completion,
    }


def _events(whole: Completions) -> Iterator[str]:
    """The server-sent events: for each completion one chunk with its text and a summary, then a summary of all."""
    for index, completion in enumerate(whole.completions):
        text = {key: value for key, value in completion.items() if key != "finish_reason"}
        yield _event({"type": "stream_chunk", "index": index, **text})
        end = {"model_version": whole.model_version, "finish_reason": completion["finish_reason"]}
        yield _event({"type": "stream_summary", "index": index, **end})
    counts = {"num_tokens_prompt_total", "num_tokens_generated", "optimized_prompt"}
    yield _event({"type": "completion_summary", **whole.model_dump(include=counts)})
    yield "data: [DONE]\n\n"


def _event(item: dict[str, Any]) -> str:
    return f"data: {json.dumps(item)}\n\n"
