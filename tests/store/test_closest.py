"""Names that were meant, against difflib over all of them."""

from __future__ import annotations

import difflib
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from store.closest import closest

NAMES = st.text(alphabet="abc-é机", min_size=1, max_size=9)


@settings(deadline=None)
@given(NAMES, st.lists(NAMES, max_size=30, unique=True))
def test_they_are_those_of_difflib(name: str, names: list[str]) -> None:
    assert closest(name, names) == difflib.get_close_matches(name, names, n=3)


def test_of_many_the_nearest_is_named() -> None:
    chance = random.Random(2)
    names = sorted({"".join(chance.choices("abcdefgh", k=12)) for _ in range(20_000)} | {"collection-of-mine"})
    assert closest("colection-of-mine", names) == ["collection-of-mine"]
    assert closest("\ud800", names) == []
