"""Batching of texts by length, so that batches contain little padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile

import torch

CPU_TOKENS_PER_THREAD = 256  # larger batches are hardly faster, and a query has to wait for the running one
GPU_TOKENS = 16_384
SIZES = 16  # token counts between one power of two and the next: OpenVINO makes and caches kernels for each shape
SLOTS = 32  # attention slots per text are a multiple of this, so that short texts such as queries have equally many


def batch_tokens(device: torch.device) -> int:
    """Tokens per batch that keep the device busy.

    On a CPU the number grows with the threads, so that a batch takes about as long with many threads as with few.
    """
    return CPU_TOKENS_PER_THREAD * max(torch.get_num_threads(), 2) if device.type == "cpu" else GPU_TOKENS


def token_budget_batches(
    token_counts: Sequence[int], budget: int | Callable[[], int], *, alike: bool = False
) -> Iterator[list[int]]:
    """Groups the indices of `token_counts` into batches, longest texts first.

    A batch holds at most `budget` tokens, padding included (its size times its longest text), and at least one text.
    A callable `budget` is called for every batch. `alike`: a batch only holds texts with the same number of attention
    slots. Ties keep the given order, so the batches depend only on the counts and the budgets.
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
    """The number of attention slots for a text of `tokens` (at least 1) tokens; slots beyond its tokens stay empty.

    In bf16 the number of empty slots affects how the others are rounded. So texts share a batch only if each of them
    would have the same number of slots alone, whether they come from one caller or several. In networks that use this
    number (Backbone.keeps_slots) a text's vector is then identical to the last bit, alone or in any batch.
    """
    return max(-(-tokens // SLOTS) * SLOTS, rounded_up(tokens))


def rounded_up(count: int) -> int:
    """`count` rounded up by at most a sixteenth; counts up to 31 stay as they are."""
    step = max(1, (1 << count.bit_length() - 1) // SIZES)
    return -(-count // step) * step
