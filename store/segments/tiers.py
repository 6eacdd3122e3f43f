"""How large segments become: of FAN_OUT of one size one is made, on the disk and in memory."""

from __future__ import annotations

import math

FAN_OUT = 4  # segments of one tier that become one
_SMALLEST_TIER = 256  # rows


def tier(rows: int) -> int:
    """Segments of one tier have about one size; those of the next have FAN_OUT times as many rows."""
    return max(0, math.floor(math.log(rows / _SMALLEST_TIER, FAN_OUT)) + 1)
