from hypothesis import given
from hypothesis import strategies as st

from embedder.batching import attention_slots, token_budget_batches


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 1000), st.booleans())
def test_batches_hold_every_text_once_within_the_budget(counts: list[int], budget: int, alike: bool) -> None:
    batches = list(token_budget_batches(counts, budget, alike=alike))
    assert sorted(i for batch in batches for i in batch) == list(range(len(counts)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(counts[i] for i in batch) <= budget
        assert not alike or len({attention_slots(max(counts[i], 1)) for i in batch}) == 1


def test_like_lengths_go_together() -> None:
    assert list(token_budget_batches([10, 250, 12, 240], 500)) == [[1, 3], [2, 0]]
