"""Size tiers of segments: FAN_OUT segments of one tier are merged into one, on disk and in memory."""

from __future__ import annotations

import math

FAN_OUT = 4  # segments of one tier that are merged into one
_SMALLEST_TIER = 256  # rows


def tier(rows: int) -> int:
    """The size tier of a segment: segments of the next tier have FAN_OUT times as many rows."""
    return max(0, math.floor(math.log(rows / _SMALLEST_TIER, FAN_OUT)) + 1)
