"""Spans of a text as a reader would point at them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embedder.lexical.sentences import without_space


@given(st.text(alphabet="ab \n\u3000", max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_a_span_without_the_space_at_its_ends(text: str, start: int, end: int) -> None:
    found = without_space(text, start, end)
    assert (found is None) == (not text[start:end].strip())
    if found is not None:
        assert text[slice(*found)] == text[start:end].strip()
        assert start <= found[0] < found[1] <= end
