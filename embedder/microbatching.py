"""Micro-batching: the texts of concurrent callers go through a backbone together.

A forward pass uses every core, so one runs at a time. Requests that arrive meanwhile are queued, and the next pass
takes as many of them as fit into a batch. No request waits for others to arrive: a lone caller is served at once.
Models on one device share its scheduler (embedder.scheduling): passages of one do not hold up the queries of another.

There is no thread of its own: a caller that finds nobody at work does the work, for those ahead of it too, until its
own texts are done.
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
        """`budget`: tokens of a batch at most, padding included, unless one request alone has more.

        `scheduler`: shared with other models of the device; None: one of its own.
        """
        super().__init__(scheduler)
        self._backbone = backbone
        self._budget = budget

    def room(self, priority: Priority) -> int:
        """Tokens of the caller's own batch at most, now."""
        return self._scheduler.room(self._budget, current_priority(priority))

    def hidden(
        self, ids: Sequence[Int64Array], factors: KeyFactors | None, priority: Priority = Priority.INTERACTIVE
    ) -> Tensor:
        """As Backbone.hidden, whose errors it raises. Other callers' texts change neither its result nor its errors;
        see embedder.batching.attention_slots.

        The most urgent priority is served first, and within it who came first; only who has waited for PATIENCE_SECONDS
        has one batch before the others. A batch holds one priority only: so no query is computed together with passages
        of an ingest, and it waits for the batch that runs, but no longer.
        Raises Abandoned where nobody waits for the caller's own answer any more before its turn comes.
        """
        request = _Request(queue=self, ids=ids, factors=factors, priority=priority)
        self._serve(request)
        assert request.result is not None
        return request.result

    def layers(self, ids: Int64Array, factors: KeyFactors | None, priority: Priority) -> list[Tensor]:
        """As Backbone.layers, for one text, which shares its batch with no other."""
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
        """Waits until the request is done (nothing is returned), or it is up to its caller to run this batch."""
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
        """Results or errors into the requests. Where a joint batch fails, each is computed alone: one is at fault."""
        begun = time.perf_counter()
        try:
            self._run(batch)
        except Exception as error:  # noqa: BLE001  # whose it is raises it, in `hidden`
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
        """The hidden states of each request. The texts go through the backbone longest first: like lengths together."""
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
    shows_layers: bool = False  # `layers` is asked for in place of `result`
    alone: bool = False
    answer: Awaited | None = field(default_factory=current_answer)
    layers: list[Tensor] | None = field(default=None, init=False)
    result: Tensor | None = field(default=None, init=False)
    error: Exception | None = field(default=None, init=False)

    @property
    def longest(self) -> int:
        """Tokens of its longest text."""
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
    """The first request, and those behind it that fit: with as many slots of the attention, and steered by the same
    formula. One that shows its layers is alone.
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
    """One factor for each token of the batch, 1 for the texts that are not steered; None where none is."""
    if all(request.factors is None for request in batch):
        return None
    values = [
        torch.ones(sum(map(len, request.ids)), device=device) if request.factors is None else request.factors.values
        for request in batch
    ]
    return KeyFactors(values=torch.cat(values), log_additive=not batch[0].is_multiplicative)
