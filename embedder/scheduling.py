"""Scheduling of forward passes: one at a time on a device, whichever model it is of, as each uses the whole device.

Causal models have a scheduler each: one of their passes may take seconds, which no query should wait for.
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

URGENT_SECONDS = 1.0  # since somebody waited for an answer, during which the batches of others are small
SMALL_SHARE = 4  # of the budget
PATIENCE_SECONDS = 1.0  # after which one batch goes before more urgent ones: queries without end must not starve it


@dataclass(eq=False, kw_only=True, slots=True)
class Waiter:
    """A caller in the queue of a model."""

    queue: object  # of which model
    priority: Priority
    alone: bool = True  # no other caller in its queue does the work for it
    answer: Awaited | None = None  # what it is needed for
    arrived_at: float = field(default_factory=time.monotonic)
    changed: threading.Condition = field(
        init=False, repr=False
    )  # notified when it is over, or its turn; with the scheduler's lock

    def __post_init__(self) -> None:
        self.priority = current_priority(self.priority)

    @property
    def is_abandoned(self) -> bool:
        return self.answer is not None and self.answer.over

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to compute for it."""
        return self.is_abandoned


class Scheduler:
    """Shared by the queues of all models of a device. `lock` guards it; methods that say so are called with it held.

    The most urgent priority is served first, and within it who came first, whichever model it is; only who has waited
    for PATIENCE_SECONDS goes before the others, once. Nobody is woken but who is done and who is next: each thread
    that wakes for nothing holds up those that compute.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._present: list[Waiter] = []  # in order of arrival; who is at work, too
        self._at_work: Waiter | None = None
        self._urgent_at = float("-inf")  # by time.monotonic: when somebody last asked who waits for the answer
        self._gave_way_at = float("-inf")  # likewise: when somebody less urgent than others last had the turn
        self._staying = dict.fromkeys(Priority, 0)  # callers between two batches of theirs, or queued

    @contextmanager
    def staying(self, priority: Priority) -> Iterator[None]:
        """Within the block a caller of several batches is not overtaken between two of them by a less urgent one."""
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
        """Queued for as long as the block lasts; a turn that it has by then ends with it."""
        own.changed = threading.Condition(self.lock)
        try:
            with self.lock:
                self._present.append(own)
                if own.priority is Priority.INTERACTIVE:
                    self._urgent_at = time.monotonic()
            yield
        finally:  # also when the caller is interrupted: nobody then waits for it, and the turn is free
            with self.lock:
                self._present = [other for other in self._present if other is not own]
                self._end(own)

    def room(self, budget: int, priority: Priority) -> int:
        """Tokens of a batch of this priority at most. While queries come, each waits for the batch that runs."""
        waiting = priority > Priority.INTERACTIVE and time.monotonic() - self._urgent_at < URGENT_SECONDS
        return budget // SMALL_SHARE if waiting else budget

    def present(self, queue: object) -> list[Waiter]:
        """The callers in this queue, in order of arrival. With `lock` held."""
        return [one for one in self._present if one.queue is queue]

    def waiting(self, queue: object) -> dict[Priority, int]:
        """How many callers are in this queue, by priority; one that computes counts, too."""
        with self.lock:
            present = self.present(queue)
            return {priority: sum(one.priority is priority for one in present) for priority in Priority}

    def wait(self, own: Waiter) -> None:
        """Until it is over, or its caller is to compute, for itself or those ahead of it. With `lock` held."""
        while not (own.is_over or self._is_free_for(own)):
            self._tell_next()  # who is next may have changed since somebody was told: patience ends by itself
            own.changed.wait(PATIENCE_SECONDS)  # no longer, as nobody tells that patience or an answer has ended

    def begin(self, own: Waiter) -> bool:
        """Gives it the turn. Whether it goes before more urgent ones. With `lock` held."""
        self._at_work = own
        if overdue := self._overdue(own):
            self._gave_way_at = time.monotonic()
        return overdue

    def end(self, own: Waiter) -> None:
        """Ends its turn, if it has it, and notifies the callers whose work it did."""
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
        # Who has waited for long enough has the turn itself: another would compute what is more urgent.
        return first is own or (first.queue is own.queue and not own.alone and not self._overdue(first))

    def _tell_next(self) -> None:
        if self._at_work is None and (first := self._next()) is not None:
            first.changed.notify()

    def _next(self) -> Waiter | None:
        """Who has the turn when nobody is at work."""
        waiting = [one for one in self._present if not one.is_over]
        if overdue := next((one for one in waiting if self._overdue(one)), None):
            return overdue
        stays = min((priority for priority, count in self._staying.items() if count), default=max(Priority))
        return min((one for one in waiting if one.priority <= stays), key=lambda one: one.priority, default=None)

    def _overdue(self, own: Waiter) -> bool:
        """Whether neither it nor anybody as patient had a turn for too long."""
        since = max(own.arrived_at, self._gave_way_at)
        return own.priority > Priority.INTERACTIVE and time.monotonic() - since > PATIENCE_SECONDS


class Queue:
    """What the queues of all models have in common. `staying`: see Scheduler."""

    def __init__(self, scheduler: Scheduler | None = None) -> None:
        """`scheduler`: shared with other models of the device; None: one of its own."""
        self._scheduler = Scheduler() if scheduler is None else scheduler
        self._observer: BatchObserver | None = None
        self.staying = self._scheduler.staying

    def observe(self, observer: BatchObserver) -> None:
        """Have `observer` called after every batch, by the thread that ran it."""
        self._observer = observer

    def waiting(self) -> dict[Priority, int]:
        """How many callers are in this queue, by priority; one that computes counts, too."""
        return self._scheduler.waiting(self)

    def _ran(self, batch: RanBatch) -> None:
        if self._observer is not None:
            self._observer(batch)


@cache
def scheduler_of(device: torch.device) -> Scheduler:
    """The scheduler of a device in this process."""
    return Scheduler()
