"""Who computes on a device: one at a time, whichever model it is, as a forward pass uses all of the device.

Causal models stand apart, each in a place of its own: a pass of theirs may take seconds, which no query should wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import torch

from core.current import Awaited, current_priority
from core.protocols import Priority

URGENT_SECONDS = 1.0  # since somebody waited for an answer, during which the batches of others are small
SMALL_SHARE = 4  # of the budget
PATIENCE_SECONDS = 1.0  # after which one batch goes before more urgent ones: queries without end must not starve it


@dataclass(eq=False, kw_only=True, slots=True)
class Standing:
    """Somebody in line."""

    line: object  # in front of which model
    priority: Priority
    alone: bool = True  # nobody else of the line does the work for it
    answer: Awaited | None = None  # what it is needed for
    arrived_at: float = field(default_factory=time.monotonic)
    told: threading.Condition = field(init=False, repr=False)  # that it is over, or its turn; of where it stands

    def __post_init__(self) -> None:
        self.priority = current_priority(self.priority)

    @property
    def is_abandoned(self) -> bool:
        return self.answer is not None and self.answer.over

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to compute for it."""
        return self.is_abandoned


class Place:
    """What the lines in front of several models share. `lock` guards it: hold it for what asks for it.

    The most urgent priority is served first, and within it who came first, whichever model it is; only who has waited
    for PATIENCE_SECONDS goes before the others, once. Nobody is woken but who is done and who is next: each thread
    that wakes for nothing holds up those that compute.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._present: list[Standing] = []  # in order of arrival; who is at work, too
        self._at_work: Standing | None = None
        self._urgent_at = float("-inf")  # by time.monotonic: when somebody last asked who waits for the answer
        self._gave_way_at = float("-inf")  # likewise: when somebody less urgent than others last had the turn
        self._staying = dict.fromkeys(Priority, 0)  # callers between two batches of theirs, or in line

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
    def standing(self, own: Standing) -> Iterator[None]:
        """In line for as long as the block lasts; a turn that it has by then ends with it."""
        own.told = threading.Condition(self.lock)
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

    def present(self, line: object) -> list[Standing]:
        """Who stands in this line, in order of arrival."""
        return [one for one in self._present if one.line is line]

    def waiting(self, line: object) -> dict[Priority, int]:
        """How many stand in this line, of each priority; who is at work, too."""
        with self.lock:
            present = self.present(line)
            return {priority: sum(one.priority is priority for one in present) for priority in Priority}

    def wait(self, own: Standing) -> None:
        """Until it is over, or up to its caller to compute, for itself or for those of its line who are ahead of it."""
        while not (own.is_over or self._is_free_for(own)):
            self._tell_next()  # who is next may have changed since somebody was told: patience ends by itself
            own.told.wait(PATIENCE_SECONDS)  # no longer, as nobody tells that patience or an answer has ended

    def begin(self, own: Standing) -> bool:
        """It has the turn now. Whether it goes before more urgent ones."""
        self._at_work = own
        if overdue := self._overdue(own):
            self._gave_way_at = time.monotonic()
        return overdue

    def end(self, own: Standing) -> None:
        """Of its turn, if it has it. Those of its line whose work it did are told."""
        with self.lock:
            self._end(own)

    def _end(self, own: Standing) -> None:
        if self._at_work is own:
            self._at_work = None
            for one in self._present:
                if one.is_over:
                    one.told.notify()
        self._tell_next()

    def _is_free_for(self, own: Standing) -> bool:
        if self._at_work is not None or (first := self._next()) is None:
            return False
        # Who has waited for long enough has the turn itself: another would compute what is more urgent.
        return first is own or (first.line is own.line and not own.alone and not self._overdue(first))

    def _tell_next(self) -> None:
        if self._at_work is None and (first := self._next()) is not None:
            first.told.notify()

    def _next(self) -> Standing | None:
        """Who has the turn when nobody is at work."""
        waiting = [one for one in self._present if not one.is_over]
        if overdue := next((one for one in waiting if self._overdue(one)), None):
            return overdue
        stays = min((priority for priority, count in self._staying.items() if count), default=max(Priority))
        return min((one for one in waiting if one.priority <= stays), key=lambda one: one.priority, default=None)

    def _overdue(self, own: Standing) -> bool:
        """Whether neither it nor anybody as patient had a turn for too long."""
        since = max(own.arrived_at, self._gave_way_at)
        return own.priority > Priority.INTERACTIVE and time.monotonic() - since > PATIENCE_SECONDS


@cache
def place_of(device: torch.device) -> Place:
    """The one of this process on the device."""
    return Place()
