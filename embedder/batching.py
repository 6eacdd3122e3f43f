"""Batches of texts of like length, so that little is padded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile

import torch

CPU_TOKENS_PER_THREAD = 256  # larger batches are hardly faster, and a query waits for the one that runs
GPU_TOKENS = 16_384
SIZES = 16  # of batches between a power of two and the next: OpenVINO makes kernels for each, and keeps many
SLOTS = 32  # of the attention, of which each text has a multiple: queries and the like have as many as one another


def batch_tokens(device: torch.device) -> int:
    """Tokens of a batch that keep the device busy. On a CPU it takes about as long with many threads as with few."""
    return CPU_TOKENS_PER_THREAD * max(torch.get_num_threads(), 2) if device.type == "cpu" else GPU_TOKENS


def token_budget_batches(
    token_counts: Sequence[int], budget: int | Callable[[], int], *, alike: bool = False
) -> Iterator[list[int]]:
    """Indices of `token_counts` in batches, longest texts first.

    A batch holds at most `budget` tokens, padding included (its size times its longest text), and at least one text.
    `alike`: of those that have as many slots of the attention. Ties keep the given order, so the batches depend on
    nothing but the counts, and a `budget` that is asked for each.
    """
    order = sorted(range(len(token_counts)), key=lambda i: -token_counts[i])
    slots = [attention_slots(max(token_counts[i], 1)) if alike else 0 for i in order]
    start = 0
    while start < len(order):
        longest = max(token_counts[order[start]], 1)
        size = max((budget if isinstance(budget, int) else budget()) // longest, 1)
        size = len(list(takewhile(slots[start].__eq__, slots[start : start + size])))
        yield order[start : start + size]
        start += size


def attention_slots(tokens: int) -> int:
    """How many slots of the attention a text of so many tokens has, at least 1.

    In bf16 the slots that are empty decide how those that are not are rounded. So texts share a batch only where each
    would have as many by itself, whether one caller asks for them or several: then a text's vector is the same to the
    last bit, alone or beside any others, in networks that keep to this number (Backbone.keeps_slots).
    """
    return max(-(-tokens // SLOTS) * SLOTS, rounded_up(tokens))


def rounded_up(count: int) -> int:
    """By a sixteenth at most, and not at all up to 31."""
    step = max(1, (1 << count.bit_length() - 1) // SIZES)
    return -(-count // step) * step
