"""Generates completions of a prompt token by token, with a key-value cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from core.context import check_awaited
from core.errors import InvalidInput
from core.prompts import TextItem, TokenIdsItem
from core.protocols import Priority
from core.records import Float64Array
from embedder.causal.constraints import Constraints
from embedder.causal.model import CausalModel, ReadPrompt
from embedder.causal.penalties import Penalties
from embedder.causal.request import CompletedText, Completion, CompletionResult, FinishReason
from embedder.causal.sampling import choices
from embedder.tokens import NO_ITEM

LogProbs = dict[str, float | None]


def complete(model: CausalModel, request: Completion, *, priority: Priority = Priority.INTERACTIVE) -> CompletionResult:
    """The completions of a prompt.

    Log probabilities, and so the choice of the best completions, are the model's own: before temperature, penalties
    and biases. Each completion has its own random generator, spawned from the seed, so asking for more completions
    does not change the earlier ones. Between two tokens other callers may take their turns, those of a more urgent
    `priority` first.
    Raises InvalidInput if prompt and completion do not fit into the model, or if a bias names an unknown token id;
    Abandoned between two tokens if nobody waits for the answer any more.
    """
    read = model.read(request.prompt, request.options)
    maximum = _maximum_tokens(model, request, len(read))
    wants_prompt = request.echo and request.log_probs is not None
    continuation = model.continuation(read, keep=len(read) if wants_prompt else 1, priority=priority)
    prompt_logits = _numpy(continuation.prompt_logits)
    writer = _Writer(model, request, read, maximum)
    seeds = np.random.SeedSequence(request.seed).spawn(request.candidates)
    candidates = [_Candidate(np.random.default_rng(seed)) for seed in seeds]
    continuation.repeat(len(candidates))
    running, logits = candidates, np.repeat(prompt_logits[-1:], len(candidates), axis=0)
    while True:
        for candidate, row in zip(running, logits, strict=True):
            writer.extend(candidate, row)
        going = [i for i, candidate in enumerate(running) if candidate.finish is None]
        if not going:
            break
        if len(going) < len(running):
            continuation.select(going)
            running = [running[i] for i in going]
        logits = _numpy(continuation.step([candidate.ids[-1] for candidate in running]))
    best = sorted(candidates, key=lambda candidate: -candidate.score) if request.best_of else candidates
    prompt_probs = writer.prompt_log_probs(prompt_logits) if wants_prompt else []
    return CompletionResult(
        completions=tuple(writer.finished(candidate, prompt_probs) for candidate in best[: request.n]),
        prompt_tokens=len(read) * len(candidates),
        generated_tokens=sum(len(candidate.ids) for candidate in candidates),
    )


class _Candidate:
    """A completion that is being generated."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.ids: list[int] = []
        self.log_probs: list[LogProbs] = []
        self.total = 0.0  # log probability of all tokens together
        self.stop: int | None = None  # offset in the text at which the stop sequence begins
        self.finish: FinishReason | None = None

    @property
    def score(self) -> float:
        """The log probability per token."""
        return self.total / len(self.ids) if self.ids else 0.0


class _Writer:
    """Extends the candidates of one request and turns them into results."""

    def __init__(self, model: CausalModel, request: Completion, read: ReadPrompt, maximum: int) -> None:
        self._model = model
        self._texts = model.texts
        self._request = request
        self._prompt = read.ids.tolist()
        self._own = [id for id, item in zip(self._prompt, read.items, strict=True) if item != NO_ITEM]
        self._maximum = maximum
        self._biases = _biases(model, request)
        bias = model.tokenizer.ids(request.penalty_bias) if request.penalty_bias else []
        self._penalties = Penalties(request, self._own, model.texts, bias)
        self._constraints = Constraints(request, model, self._prompt)

    def extend(self, candidate: _Candidate, logits: Float64Array) -> None:
        """Adds one token to the candidate, chosen by the model's logits (vocabulary,), or finishes it."""
        id = None if len(candidate.ids) >= self._maximum else self._next(candidate, logits)
        if id is None:
            at_limit = len(candidate.ids) >= self._maximum
            candidate.finish = FinishReason.MAXIMUM_TOKENS if at_limit else FinishReason.END_OF_TEXT
            return
        probabilities = _log_softmax(logits)
        candidate.ids.append(id)
        candidate.total += float(probabilities[id])
        if self._request.log_probs is not None:
            candidate.log_probs.append(self._labelled(probabilities, id))
        candidate.finish = self._finish(candidate)

    def finished(self, candidate: _Candidate, prompt_probs: Sequence[LogProbs]) -> CompletedText:
        """The result of a finished candidate, with the fields that the request asks for."""
        request = self._request
        assert candidate.finish is not None
        raw = self._texts.after(self._prompt, candidate.ids)
        text = raw if candidate.stop is None else raw[: candidate.stop]
        kept = candidate.ids if candidate.stop is None else self._up_to(candidate.ids, candidate.stop)
        labels = [self._texts.label(id) for id in ([*self._own, *kept] if request.echo else kept)]
        log_probs = (*prompt_probs, *candidate.log_probs[: len(kept)])
        return CompletedText(
            completion=self._echo() + text if request.echo else text,
            finish_reason=candidate.finish,
            tokens=tuple(labels) if request.tokens else None,
            log_probs=None if request.log_probs is None else log_probs,
            raw_completion=raw if request.raw_completion else None,
        )

    def prompt_log_probs(self, logits: Float64Array) -> list[LogProbs]:
        """The log probabilities of the prompt's own tokens; `logits`: (prompt tokens, vocabulary)."""
        found: list[LogProbs] = []
        for i in range(len(self._prompt) - len(self._own), len(self._prompt)):
            label = self._texts.label(self._prompt[i])
            found.append(self._labelled(_log_softmax(logits[i - 1]), self._prompt[i]) if i else {label: None})
        return found

    def _next(self, candidate: _Candidate, raw: Float64Array) -> int | None:
        """The next token; None if the constraints allow none."""
        logits = raw + self._biases
        if self._penalties.active:
            self._penalties.apply(logits, candidate.ids)
        logits[~self._constraints.allowed(candidate.ids)] = -np.inf
        for id in choices(logits, self._request, candidate.random):
            if not self._constraints.writes_excluded([*candidate.ids, id]):
                return id
            check_awaited()  # up to the whole vocabulary may be tried
        return None

    def _finish(self, candidate: _Candidate) -> FinishReason | None:
        if candidate.ids[-1] in self._model.end_ids:
            return FinishReason.END_OF_TEXT
        if self._request.stop_sequences:
            text = self._texts.after(self._prompt, candidate.ids)
            starts = [start for stop in self._request.stop_sequences if (start := text.find(stop)) >= 0]
            if starts:
                candidate.stop = min(starts)
                return FinishReason.STOP_SEQUENCE
        if self._constraints.complete(candidate.ids):
            return FinishReason.END_OF_TEXT
        return FinishReason.MAXIMUM_TOKENS if len(candidate.ids) >= self._maximum else None

    def _up_to(self, ids: Sequence[int], end: int) -> list[int]:
        """The fewest leading tokens whose text has the first `end` characters; the last token may reach beyond."""
        kept = list(ids)
        while kept and len(self._texts.after(self._prompt, kept[:-1])) >= end:
            kept.pop()
        return kept

    def _labelled(self, probabilities: Float64Array, id: int) -> LogProbs:
        """The log probabilities of the requested number of likeliest tokens, and of the token itself."""
        found: LogProbs = {}
        for other in self._likeliest(probabilities, self._request.log_probs or 0):
            # If two tokens have the same label, the likelier one stays.
            found.setdefault(self._texts.label(other), float(probabilities[other]))
        found[self._texts.label(id)] = float(probabilities[id])
        return found

    def _likeliest(self, probabilities: Float64Array, count: int) -> list[int]:
        if not count:
            return []
        known = self._texts.known_ids
        ids: list[int] = known[np.argsort(-probabilities[known], kind="stable")[:count]].tolist()
        return ids

    def _echo(self) -> str:
        parts = []
        for item in self._request.prompt.items:
            match item:
                case TextItem():
                    parts.append(item.text)
                case TokenIdsItem():
                    parts.append(self._model.tokenizer.text(item.ids))
        return "".join(parts)


def _maximum_tokens(model: CausalModel, request: Completion, prompt: int) -> int:
    room = model.max_tokens - prompt
    if request.maximum_tokens is None:
        return room
    if request.maximum_tokens > room:
        raise InvalidInput(
            f"maximum_tokens {request.maximum_tokens}: the prompt has {prompt} tokens and model {model.name} reads "
            f"{model.max_tokens} in all, so at most {room} are possible",
            param="maximum_tokens",
        )
    return request.maximum_tokens


def _biases(model: CausalModel, request: Completion) -> Float64Array:
    """(vocabulary,) the biases to add to the logits."""
    biases = np.zeros(model.vocabulary)
    for id, bias in request.logit_bias.items():
        if not 0 <= id < model.vocabulary:
            raise InvalidInput(
                f"logit_bias has token id {id}: model {model.name} has ids from 0 to {model.vocabulary - 1}",
                param="logit_bias",
            )
        biases[id] = bias
    return biases


def _log_softmax(logits: Float64Array) -> Float64Array:
    shifted = logits - logits.max()
    found: Float64Array = shifted - np.log(np.exp(shifted).sum())
    return found


def _numpy(logits: torch.Tensor) -> Float64Array:
    found: Float64Array = logits.double().cpu().numpy()
    return found
