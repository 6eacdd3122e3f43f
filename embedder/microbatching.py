"""Micro-batching: runs the texts of concurrent callers through a backbone in shared batches.

A forward pass uses every core, so one runs at a time. Requests that arrive meanwhile are queued, and the next pass
takes as many of them as fit into a batch. No request waits for others to arrive: a lone caller is served at once.
Models on one device share its scheduler (embedder.scheduling), so passages for one do not hold up queries for another.

There is no worker thread: a caller that finds nobody computing runs batches itself, also for those ahead of it, until
its own texts are done.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from core.context import Awaited, current_answer, current_priority
from core.errors import Abandoned
from core.protocols import Priority, RanBatch
from core.records import Int64Array
from embedder.backbone import Backbone, KeyFactors
from embedder.batching import attention_slots
from embedder.scheduling import Queue, Scheduler, Waiter


class MicroBatcher(Queue):
    """The queue of one backbone. Thread-safe."""

    def __init__(self, backbone: Backbone, budget: int, scheduler: Scheduler | None = None) -> None:
        """`budget`: the most tokens of a batch, padding included, unless one request alone has more.

        `scheduler`: shared with the other models of the device; None: a new one.
        """
        super().__init__(scheduler)
        self._backbone = backbone
        self._budget = budget

    def room(self, priority: Priority) -> int:
        """The most tokens that the caller's next batch may have; see Scheduler.room."""
        return self._scheduler.room(self._budget, current_priority(priority))

    def hidden(
        self, ids: Sequence[Int64Array], factors: KeyFactors | None, priority: Priority = Priority.INTERACTIVE
    ) -> Tensor:
        """The result of Backbone.hidden: (tokens, width) float32, packed in the order of `ids`. Raises its errors.

        Other callers' texts change neither the result nor the errors; see embedder.batching.attention_slots.

        Requests are served in the order of Scheduler. A batch holds requests of one priority only: a query is never
        computed together with passages of an ingest, and waits for none of their batches but the one that is running,
        unless a caller of lower priority is overdue.
        Raises Abandoned if nobody waits for the caller's answer any more before its turn comes.
        """
        request = _Request(queue=self, ids=ids, factors=factors, priority=priority)
        self._serve(request)
        assert request.result is not None
        return request.result

    def layers(self, ids: Int64Array, factors: KeyFactors | None, priority: Priority) -> list[Tensor]:
        """The result of Backbone.layers for one text, which is computed in a batch of its own."""
        request = _Request(queue=self, ids=[ids], factors=factors, priority=priority, shows_layers=True)
        self._serve(request)
        assert request.layers is not None
        return request.layers

    def _serve(self, request: _Request) -> None:
        with self._scheduler.queued(request):
            while batch := self._next_batch(request):
                self._compute(batch)
                self._scheduler.end(request)
        if request.error is not None:
            raise request.error

    def _next_batch(self, request: _Request) -> list[_Request]:
        """Wait until the request is done, or its caller must run a batch. Returns that batch; empty if it is done."""
        scheduler = self._scheduler
        with scheduler.lock:
            scheduler.wait(request)
            if request.is_done:
                return []
            if request.is_abandoned:
                raise Abandoned
            waiting = [
                one for one in cast("list[_Request]", scheduler.present(self)) if one is request or not one.is_over
            ]
            first = request.priority if scheduler.begin(request) else min(one.priority for one in waiting)
            return _batch([one for one in waiting if one.priority is first], scheduler.room(self._budget, first))

    def _compute(self, batch: Sequence[_Request]) -> None:
        """Store results or errors in the requests. If a shared batch fails, compute each alone: one may be at fault."""
        begun = time.perf_counter()
        try:
            self._run(batch)
        except Exception as error:  # noqa: BLE001  # raised in its caller's thread, by `_serve`
            if len(batch) == 1:
                batch[0].error = error
                return
            for request in batch:
                self._compute([request])
            return
        self._ran(
            RanBatch(
                priority=batch[0].priority,
                texts=sum(len(request.ids) for request in batch),
                tokens=sum(len(text) for request in batch for text in request.ids),
                seconds=time.perf_counter() - begun,
            )
        )

    def _run(self, batch: Sequence[_Request]) -> None:
        if batch[0].shows_layers:
            batch[0].layers = self._backbone.layers(batch[0].ids, batch[0].factors)
            return
        for request, result in zip(batch, self._forward(batch), strict=True):
            request.result = result

    def _forward(self, batch: Sequence[_Request]) -> list[Tensor]:
        """The hidden states of each request. Texts are sorted longest first, to put similar lengths together."""
        ids = [text for request in batch for text in request.ids]
        lengths = [len(text) for text in ids]
        order = sorted(range(len(ids)), key=lambda i: -lengths[i])
        keys = _joined_factors(batch, self._backbone.device)
        if keys is not None:
            by_text = torch.split(keys.values, lengths)
            keys = KeyFactors(values=torch.cat([by_text[i] for i in order]), log_additive=keys.log_additive)
        packed = self._backbone.hidden([ids[i] for i in order], keys)
        if len(ids) == 1:
            return [packed]
        texts = dict(zip(order, torch.split(packed, [lengths[i] for i in order]), strict=True))
        start, results = 0, []
        for request in batch:
            end = start + len(request.ids)
            results.append(torch.cat([texts[i] for i in range(start, end)]))
            start = end
        return results


@dataclass(eq=False, kw_only=True, slots=True)
class _Request(Waiter):
    ids: Sequence[Int64Array]
    factors: KeyFactors | None
    shows_layers: bool = False  # asks for `layers` instead of `result`
    alone: bool = False
    answer: Awaited | None = field(default_factory=current_answer)
    layers: list[Tensor] | None = field(default=None, init=False)
    result: Tensor | None = field(default=None, init=False)
    error: Exception | None = field(default=None, init=False)

    @property
    def longest(self) -> int:
        """The number of tokens of its longest text."""
        return max(map(len, self.ids))

    @property
    def is_done(self) -> bool:
        return self.result is not None or self.layers is not None or self.error is not None

    @property
    def is_over(self) -> bool:
        return self.is_done or self.is_abandoned

    @property
    def is_multiplicative(self) -> bool:
        return self.factors is not None and not self.factors.log_additive


def _batch(queue: Sequence[_Request], budget: int) -> list[_Request]:
    """The first request, and those behind it that fit: as many attention slots, and steered by the same formula.

    A request that shows layers is a batch of its own.
    """
    first = queue[0]
    batch, texts, longest, slots = [first], len(first.ids), first.longest, attention_slots(first.longest)
    if first.shows_layers:
        return batch
    for request in queue[1:]:
        alike = attention_slots(request.longest) == slots and request.is_multiplicative == first.is_multiplicative
        if not alike or request.shows_layers:
            continue
        texts, longest = texts + len(request.ids), max(longest, request.longest)
        if texts * longest > budget:
            break
        batch.append(request)
    return batch


def _joined_factors(batch: Sequence[_Request], device: torch.device) -> KeyFactors | None:
    """One factor for each token of the batch, 1 for texts that are not steered; None if no text is."""
    if all(request.factors is None for request in batch):
        return None
    values = [
        torch.ones(sum(map(len, request.ids)), device=device) if request.factors is None else request.factors.values
        for request in batch
    ]
    return KeyFactors(values=torch.cat(values), log_additive=not batch[0].is_multiplicative)
