"""Schedules forward passes by priority: one at a time on each device, as each pass uses the whole device.

All models of a device share its scheduler. Only causal models have one of their own: their passes may take seconds, and
no query should wait for that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import torch

from core.context import Awaited, current_priority
from core.protocols import BatchObserver, Priority, RanBatch

URGENT_SECONDS = 1.0  # after an interactive caller has come, the batches of other priorities stay small for this long
SMALL_SHARE = 4  # the token budget is divided by this for small batches
PATIENCE_SECONDS = 1.0  # after this wait a caller runs one batch before more urgent ones: queries must not starve it


@dataclass(eq=False, kw_only=True, slots=True)
class Waiter:
    """A caller in the queue of a model."""

    queue: object  # the model's queue
    priority: Priority
    alone: bool = True  # no other caller of its queue can do its work
    answer: Awaited | None = None  # the answer that needs the result
    arrived_at: float = field(default_factory=time.monotonic)
    changed: threading.Condition = field(init=False, repr=False)  # of the scheduler's lock; notified when over or next

    def __post_init__(self) -> None:
        self.priority = current_priority(self.priority)

    @property
    def is_abandoned(self) -> bool:
        return self.answer is not None and self.answer.over

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to compute for this caller."""
        return self.is_abandoned


class Scheduler:
    """Decides which caller computes next, among the queues of all models of a device.

    Callers are served by priority, and first come, first served within a priority, whichever model they want. A caller
    that has waited for PATIENCE_SECONDS goes before more urgent ones, for one batch. Only the callers that are done and
    the one that is next are woken: a thread that wakes for nothing slows down those that compute.

    `lock` guards the state; some methods, as documented, must be called with it held.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._present: list[Waiter] = []  # in order of arrival; includes the one that computes
        self._at_work: Waiter | None = None
        self._urgent_at = float("-inf")  # by time.monotonic: when an interactive caller last came
        self._gave_way_at = float("-inf")  # likewise: when an overdue caller last went first
        self._staying = dict.fromkeys(Priority, 0)  # callers within `staying`

    @contextmanager
    def staying(self, priority: Priority) -> Iterator[None]:
        """Within the block, lower priorities do not compute between two batches of this caller, unless overdue."""
        priority = current_priority(priority)
        with self.lock:
            self._staying[priority] += 1
        try:
            yield
        finally:
            with self.lock:
                self._staying[priority] -= 1
                self._tell_next()

    @contextmanager
    def queued(self, own: Waiter) -> Iterator[None]:
        """Keep `own` in the queue during the block. If it is computing at the end, its turn ends there."""
        own.changed = threading.Condition(self.lock)
        try:
            with self.lock:
                self._present.append(own)
                if own.priority is Priority.INTERACTIVE:
                    self._urgent_at = time.monotonic()
            yield
        finally:  # also when the caller is interrupted: others must not wait for it
            with self.lock:
                self._present = [other for other in self._present if other is not own]
                self._end(own)

    def room(self, budget: int, priority: Priority) -> int:
        """The most tokens that a batch of this priority may have now.

        While queries come, batches of other priorities get only a part of `budget`, as each query waits for the batch
        that is running.
        """
        waiting = priority > Priority.INTERACTIVE and time.monotonic() - self._urgent_at < URGENT_SECONDS
        return budget // SMALL_SHARE if waiting else budget

    def present(self, queue: object) -> list[Waiter]:
        """The callers in this queue, in order of arrival. Call with `lock` held."""
        return [one for one in self._present if one.queue is queue]

    def waiting(self, queue: object) -> dict[Priority, int]:
        """The number of callers in this queue by priority, including the one that computes."""
        with self.lock:
            present = self.present(queue)
            return {priority: sum(one.priority is priority for one in present) for priority in Priority}

    def wait(self, own: Waiter) -> None:
        """Wait until `own` is over or must compute, for itself or for those ahead of it. Call with `lock` held."""
        while not (own.is_over or self._is_free_for(own)):
            self._tell_next()  # the next caller changes without a notification when one becomes overdue
            own.changed.wait(PATIENCE_SECONDS)  # nobody notifies of overdue callers or abandoned answers

    def begin(self, own: Waiter) -> bool:
        """Let `own` compute. Returns whether it is overdue, and so goes before others. Call with `lock` held."""
        self._at_work = own
        if overdue := self._overdue(own):
            self._gave_way_at = time.monotonic()
        return overdue

    def end(self, own: Waiter) -> None:
        """End the turn of `own`, if it is computing, and notify the callers whose work it did."""
        with self.lock:
            self._end(own)

    def _end(self, own: Waiter) -> None:
        if self._at_work is own:
            self._at_work = None
            for one in self._present:
                if one.is_over:
                    one.changed.notify()
        self._tell_next()

    def _is_free_for(self, own: Waiter) -> bool:
        if self._at_work is not None or (first := self._next()) is None:
            return False
        # An overdue caller computes itself: another one would compute the most urgent texts instead.
        return first is own or (first.queue is own.queue and not own.alone and not self._overdue(first))

    def _tell_next(self) -> None:
        if self._at_work is None and (first := self._next()) is not None:
            first.changed.notify()

    def _next(self) -> Waiter | None:
        """The caller to compute next when nobody does."""
        waiting = [one for one in self._present if not one.is_over]
        if overdue := next((one for one in waiting if self._overdue(one)), None):
            return overdue
        stays = min((priority for priority, count in self._staying.items() if count), default=max(Priority))
        return min((one for one in waiting if one.priority <= stays), key=lambda one: one.priority, default=None)

    def _overdue(self, own: Waiter) -> bool:
        """Whether, not being interactive, it has waited for PATIENCE_SECONDS in which no overdue caller was served."""
        since = max(own.arrived_at, self._gave_way_at)
        return own.priority > Priority.INTERACTIVE and time.monotonic() - since > PATIENCE_SECONDS


class Queue:
    """Base class of the queues of models. `staying`: see Scheduler."""

    def __init__(self, scheduler: Scheduler | None = None) -> None:
        """`scheduler`: shared with the other models of the device; None: a new one."""
        self._scheduler = Scheduler() if scheduler is None else scheduler
        self._observer: BatchObserver | None = None
        self.staying = self._scheduler.staying

    def observe(self, observer: BatchObserver) -> None:
        """Call `observer` after every batch, in the thread that ran it."""
        self._observer = observer

    def waiting(self) -> dict[Priority, int]:
        """The number of callers in this queue by priority, including the one that computes."""
        return self._scheduler.waiting(self)

    def _ran(self, batch: RanBatch) -> None:
        if self._observer is not None:
            self._observer(batch)


@cache
def scheduler_of(device: torch.device) -> Scheduler:
    """This process's scheduler of a device."""
    return Scheduler()
