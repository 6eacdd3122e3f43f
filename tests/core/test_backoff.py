"""How long to wait after failures in a row."""

from __future__ import annotations

from core.backoff import doubled


def test_each_pause_is_twice_the_one_before_up_to_the_longest() -> None:
    assert [doubled(failures) for failures in range(1, 9)] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert [doubled(failures, first=0.5, longest=3.0) for failures in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_after_any_number_of_failures() -> None:
    """A disk that fails for a day: 2.0 ** 1024 is no number."""
    assert {doubled(failures) for failures in (64, 65, 1_023, 1_024, 1_025, 10**9)} == {60.0}
