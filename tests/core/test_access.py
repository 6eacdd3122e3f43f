"""What a key may be made for."""

from __future__ import annotations

import math

import pytest

from core.access import Rights, Role
from core.errors import InvalidSettings


@pytest.mark.parametrize("expires_at", [math.nan, math.inf, -math.inf])
def test_a_key_expires_at_a_time(expires_at: float) -> None:
    """By the comparisons of numbers one that expires at nan would never do so."""
    with pytest.raises(InvalidSettings, match="must be a time") as error:
        Rights(name="k", role=Role.SEARCH, expires_at=expires_at)
    assert error.value.param == "expires_at"
