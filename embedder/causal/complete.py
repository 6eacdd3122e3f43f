"""Continuing a prompt, token by token, with the keys and values of all earlier tokens kept."""

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

    The log probabilities, and with them the choice of the best, are the model's own: before temperature, penalties and
    biases. Each completion has a random source of its own, drawn from the seed, so more of them change no earlier one.
    Other callers get their turns between any two tokens, those of a more urgent `priority` first; there it also ends,
    by Abandoned, where nobody waits for the answer any more.
    Raises InvalidInput where prompt and completion do not fit into the model, and for an unknown token id of a bias.
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
    """One completion while it is written."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.ids: list[int] = []
        self.log_probs: list[LogProbs] = []
        self.total = 0.0  # log probability of all tokens
        self.stop: int | None = None  # where in the text the stop sequence begins
        self.finish: FinishReason | None = None

    @property
    def score(self) -> float:
        """The log probability per token."""
        return self.total / len(self.ids) if self.ids else 0.0


class _Writer:
    """Writes the candidates of one request."""

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
        """One more token for the candidate, out of the model's logits (vocabulary,), or its end."""
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
        """What the request asked for of a candidate that is written."""
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
        """Of the prompt's own tokens; `logits`: (prompt tokens, vocabulary)."""
        found: list[LogProbs] = []
        for i in range(len(self._prompt) - len(self._own), len(self._prompt)):
            label = self._texts.label(self._prompt[i])
            found.append(self._labelled(_log_softmax(logits[i - 1]), self._prompt[i]) if i else {label: None})
        return found

    def _next(self, candidate: _Candidate, raw: Float64Array) -> int | None:
        """The token to go on with; None where the constraints leave none."""
        logits = raw + self._biases
        if self._penalties.active:
            self._penalties.apply(logits, candidate.ids)
        logits[~self._constraints.allowed(candidate.ids)] = -np.inf
        for id in choices(logits, self._request, candidate.random):
            if not self._constraints.writes_excluded([*candidate.ids, id]):
                return id
            check_awaited()  # there may be as many more as the vocabulary has
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
        """The tokens that write the first `end` characters, of the last one perhaps only a part."""
        kept = list(ids)
        while kept and len(self._texts.after(self._prompt, kept[:-1])) >= end:
            kept.pop()
        return kept

    def _labelled(self, probabilities: Float64Array, id: int) -> LogProbs:
        """The log probabilities of the likeliest tokens, as many as asked for, and of the token itself."""
        found: LogProbs = {}
        for other in self._likeliest(
            probabilities, self._request.log_probs or 0
        ):  # of two tokens that write the same, the likelier stays
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
    """(vocabulary,) what is added to the logits."""
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
