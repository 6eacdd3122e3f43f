"""The soak's judgement: what grows on and on is not flat, what fills and swings is."""

from __future__ import annotations

import math

import pytest

from bench.soak.__main__ import Sample, judged


def samples(own: float, added_a_minute: float, files_a_minute: float = 0.0) -> list[Sample]:
    """Twenty minutes, in which memory fills in the first five and swings by 5 MiB from then on; traces fill longer."""
    found = []
    for number in range(240):
        minute = number / 12
        filled = own * min(1.0, 0.5 + minute / 10)
        swing = 5 * math.sin(number)
        files = 40 + round(files_a_minute * minute) + number % 3
        own_mib = filled + swing + added_a_minute * minute
        found.append(
            Sample(
                minute=minute, own_mib=own_mib + 5 * minute, traces_mib=5 * minute, files=files, threads=30 + number % 2
            )
        )
    return found


def test_what_fills_up_and_swings_is_flat() -> None:
    report = judged(samples(600, 0.0))
    assert report["flat"]
    assert report["own_mib"]["a_minute"] == pytest.approx(0.0, abs=0.1)
    assert report["own_mib"]["first"] < 310 < 590 < report["own_mib"]["after_warm_up"]
    assert report["minutes"] == pytest.approx(19.92)


@pytest.mark.parametrize(("memory", "files"), [(2.0, 0.0), (0.0, 0.5), (4.0, 4.0)])
def test_what_grows_on_is_not(memory: float, files: float) -> None:
    report = judged(samples(600, memory, files))
    assert not report["flat"]
    assert report["own_mib"]["a_minute"] == pytest.approx(memory, abs=0.1)
    assert report["files"]["a_minute"] == pytest.approx(files, abs=0.05)


def test_what_shrinks_is_flat() -> None:
    assert judged(samples(600, -5.0))["flat"]
