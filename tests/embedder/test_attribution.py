import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.records import TokenTrace
from embedder.attribution import Units, leave_one_out, parts, sums
from tests.embedder.tokenmatrix import token_matrix


def trace(seed: int, tokens: int) -> TokenTrace:
    random = np.random.default_rng(seed)
    return TokenTrace(
        spans=np.zeros((tokens, 2), dtype=np.int64),
        special=np.zeros(tokens, dtype=np.bool_),
        vectors=random.normal(size=(tokens, 8)).astype(np.float32),
        weights=random.uniform(0.1, 7, size=tokens),
    )


def mean_vector(trace: TokenTrace) -> np.ndarray:
    mean: np.ndarray = trace.weights @ trace.vectors.astype(np.float64)
    return mean


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 9))
def test_the_token_matrix_sums_to_the_cosine(seed: int, query_tokens: int, passage_tokens: int) -> None:
    query, passage = trace(seed, query_tokens), trace(seed + 1, passage_tokens)
    matrix = token_matrix(query, passage)
    assert matrix.shape == (query_tokens, passage_tokens)
    assert matrix.sum() == pytest.approx(cosine(mean_vector(query), mean_vector(passage)), abs=1e-9)


@given(st.integers(0, 10_000), st.integers(2, 9))
def test_leave_one_out_equals_pooling_again_without_the_unit(seed: int, tokens: int) -> None:
    query, passage = trace(seed, 3), trace(seed + 1, tokens)
    vector = mean_vector(query) / np.linalg.norm(mean_vector(query))
    effects = leave_one_out(parts(passage), vector, Units.of([np.array([i]) for i in range(tokens)]))
    whole = cosine(mean_vector(passage), vector)
    for i, effect in enumerate(effects):
        keep = np.arange(tokens) != i
        rest = passage.weights[keep] @ passage.vectors[keep].astype(np.float64)
        assert effect == pytest.approx(whole - cosine(rest, vector), abs=1e-9)


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(0, 10_000))
def test_sums_are_those_of_each_unit_by_itself(counts: list[int], seed: int) -> None:
    """Units of no token, of few and of many."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(20, 3))
    members = [random.choice(20, size=count, replace=False) for count in counts]
    units = Units.of(members)
    found = sums(values, units)
    assert found.shape == (len(counts), 3)
    for row, unit, (again, fractions) in zip(found, members, units, strict=True):
        np.testing.assert_array_equal(again, unit)
        np.testing.assert_array_equal(fractions, 1)
        np.testing.assert_allclose(row, values[unit].sum(axis=0), atol=1e-12)
    both = units + Units.of([np.arange(20)])
    np.testing.assert_allclose(sums(values, both)[-1], values.sum(axis=0), atol=1e-12)


def test_a_unit_of_all_tokens_scores_the_cosine() -> None:
    query, passage = trace(1, 3), trace(2, 4)
    vector = mean_vector(query) / np.linalg.norm(mean_vector(query))
    [effect] = leave_one_out(parts(passage), vector, Units.of([np.arange(4)]))
    assert effect == pytest.approx(cosine(mean_vector(passage), vector))
