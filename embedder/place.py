"""Who computes on a device: one at a time, whichever model it is, as a forward pass uses all of the device."""

from __future__ import annotations

import threading
from functools import cache

import torch

from core.protocols import Priority


class Place:
    """What the lines in front of several backbones share. `changed` guards it, and the lines too."""

    def __init__(self) -> None:
        self.changed = threading.Condition()  # told when a batch is done
        self.at_work: object | None = None  # the request of the caller that runs a batch
        self.urgent_at = float("-inf")  # by time.monotonic: when somebody last asked who waits for the answer
        self.gave_way_at = float("-inf")  # likewise: when somebody less urgent than others last had the turn
        self.staying = dict.fromkeys(Priority, 0)  # callers between two batches of theirs, or in line


@cache
def place_of(device: torch.device) -> Place:
    """The one of this process on the device."""
    return Place()
