"""Sampling and penalties, each against transformers' own or a formula by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
)

from core.errors import InvalidInput
from core.prompts import Prompt
from core.records import Float64Array
from embedder.causal.model import CausalModel
from embedder.causal.penalties import Penalties
from embedder.causal.request import MAX_CHARACTERS, Completion, Penalty
from embedder.causal.sampling import choices, distribution
from tests.growth import assert_linear

# Far enough apart that no temperature makes a tie of two, which libraries break differently.
LOGITS = st.lists(st.integers(-8000, 8000).map(lambda n: n / 1000), min_size=2, max_size=12, unique=True)
IDS = st.lists(st.integers(1, 12), max_size=20)
EMPTY = Prompt.of("")


def choose(logits: Float64Array, request: Completion, random: np.random.Generator) -> int:
    return next(choices(logits.copy(), request, random))


@settings(deadline=None, max_examples=50)
@given(values=LOGITS, temperature=st.sampled_from([0.3, 1.0, 2.0]), top_k=st.integers(0, 14))
def test_temperature_and_top_k_are_those_of_transformers(values: list[float], temperature: float, top_k: int) -> None:
    scores = TemperatureLogitsWarper(temperature)(torch.zeros(1, 1), torch.tensor([values], dtype=torch.float64))
    if top_k:
        scores = TopKLogitsWarper(top_k)(torch.zeros(1, 1), scores)
    found = distribution(np.array(values), temperature=temperature, top_k=top_k, top_p=0.0)
    assert found == pytest.approx(scores.softmax(-1)[0].numpy(), abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(values=LOGITS, top_p=st.floats(0.01, 1.0))
def test_top_p_keeps_the_smallest_set_that_exceeds_it(values: list[float], top_p: float) -> None:
    logits = np.array(values)
    plain = distribution(logits, temperature=1.0, top_k=0, top_p=0.0)
    found = distribution(logits, temperature=1.0, top_k=0, top_p=top_p)
    kept = np.flatnonzero(found)
    rest = np.setdiff1d(np.arange(len(values)), kept)
    assert plain[kept].min() >= max(plain[rest], default=0.0)
    assert plain[kept].sum() > top_p or len(kept) == len(values)
    assert plain[kept].sum() - plain[kept].min() <= top_p + 1e-12
    assert found[kept] == pytest.approx(plain[kept] / plain[kept].sum())


def test_top_p_comes_after_top_k() -> None:
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1]))
    found = distribution(logits, temperature=1.0, top_k=2, top_p=0.5)
    assert found == pytest.approx([1, 0, 0, 0])  # 0.4 of the 0.7 that top_k left is over one half


def test_draws_follow_the_distribution() -> None:
    logits = np.array([1.0, 0.0, -np.inf, 2.0])
    request = Completion(prompt=EMPTY, temperature=0.8)
    random = np.random.default_rng(0)
    drawn = np.bincount([choose(logits, request, random) for _ in range(4000)], minlength=4) / 4000
    assert drawn == pytest.approx(distribution(logits, temperature=0.8, top_k=0, top_p=0.0), abs=0.03)
    assert drawn[2] == 0
    assert choose(logits, Completion(prompt=EMPTY), random) == 3
    assert {choose(logits, Completion(prompt=EMPTY, top_k=1), random) for _ in range(9)} == {3}
    assert len({choose(logits, Completion(prompt=EMPTY, top_p=0.99), random) for _ in range(60)}) == 3


@pytest.mark.parametrize("arguments", [{}, {"temperature": 0.7}, {"top_k": 3}, {"top_p": 0.6, "temperature": 2.0}])
def test_what_is_refused_is_as_if_it_had_never_been_there(
    arguments: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, random = np.array([1.0, 0.0, -np.inf, 2.0, 1.0, -40.0]), np.random.default_rng(0)
    request, rest, sorts = Completion(prompt=EMPTY, **arguments), logits.copy(), list[int]()  # type: ignore[arg-type]
    sort = np.argsort
    monkeypatch.setattr("numpy.argsort", lambda *args, **named: sorts.append(1) or sort(*args, **named))  # type: ignore[call-overload, func-returns-value]
    found = list(choices(logits.copy(), request, random))
    assert len(sorts) == bool(arguments)  # however many are refused
    monkeypatch.undo()
    random = np.random.default_rng(0)
    for id in found:
        assert choose(rest, request, random) == id
        rest[id] = -np.inf
    assert sorted(found) == [0, 1, 3, 4, 5]


def penalized(
    model: CausalModel, prompt: list[int], generated: list[int], bias: tuple[int, ...] = (), **arguments: object
) -> Float64Array:
    """What the penalties make of fixed logits, half of them below 0."""
    logits = np.linspace(-3, 3, model.vocabulary)
    request = Completion(prompt=EMPTY, **arguments)  # type: ignore[arg-type]
    Penalties(request, prompt, model.texts, bias).apply(logits, generated)
    return logits


@settings(deadline=None, max_examples=50)
@given(prompt=IDS, generated=IDS)
def test_additive_penalties_by_their_formula(model: CausalModel, prompt: list[int], generated: list[int]) -> None:
    plain = np.linspace(-3, 3, model.vocabulary)
    counts = np.bincount(generated, minlength=model.vocabulary)
    found = penalized(
        model, prompt, generated, presence_penalty=Penalty(value=0.5), frequency_penalty=Penalty(value=0.2)
    )
    assert found == pytest.approx(plain - 0.5 * (counts > 0) - 0.2 * counts)
    with_prompt = penalized(
        model, prompt, generated, frequency_penalty=Penalty(value=0.2), penalties_include_prompt=True
    )
    assert with_prompt == pytest.approx(plain - 0.2 * (counts + np.bincount(prompt, minlength=model.vocabulary)))
    of_prompt = penalized(
        model,
        prompt,
        generated,
        presence_penalty=Penalty(value=1.0),
        penalties_include_prompt=True,
        penalties_include_completion=False,
    )
    assert of_prompt == pytest.approx(plain - (np.bincount(prompt, minlength=model.vocabulary) > 0))


@pytest.mark.parametrize(
    "penalty",
    [
        Penalty(value=1e9),
        Penalty(value=-1e9),
        Penalty(value=1e9, multiplicative=True),
        Penalty(value=-1 + 1e-12, multiplicative=True),
    ],
)
def test_no_penalty_is_too_strong(model: CausalModel, penalty: Penalty) -> None:
    generated = [0, *[7] * 100, model.vocabulary - 1, 0]
    strongest = dict.fromkeys(("presence_penalty", "frequency_penalty", "sequence_penalty"), penalty)
    logits = penalized(model, [], generated, **strongest)
    assert np.isfinite(logits).all()
    request = Completion(prompt=EMPTY, temperature=1.0)
    assert 0 <= choose(logits, request, np.random.default_rng(7)) < model.vocabulary


@settings(deadline=None, max_examples=50)
@given(generated=IDS, value=st.floats(-0.5, 3))
def test_the_multiplicative_presence_penalty_is_that_of_ctrl(
    model: CausalModel, generated: list[int], value: float
) -> None:
    found = penalized(model, [], generated, presence_penalty=Penalty(value=value, multiplicative=True))
    scores = torch.linspace(-3, 3, model.vocabulary, dtype=torch.float64)[None]
    ids = torch.tensor([generated], dtype=torch.long)
    expected = RepetitionPenaltyLogitsProcessor(1 + value)(ids, scores)[0] if value and generated else scores[0]
    assert found == pytest.approx(expected.numpy(), abs=1e-6)


def test_the_multiplicative_frequency_penalty_acts_once_for_each_time(model: CausalModel) -> None:
    plain = np.linspace(-3, 3, model.vocabulary)
    found = penalized(model, [], [1, 1, 1, 300], frequency_penalty=Penalty(value=1.0, multiplicative=True))
    assert found[1] == pytest.approx(plain[1] * 8)
    assert found[300] == pytest.approx(plain[300] / 2)
    assert np.delete(found, [1, 300]) == pytest.approx(np.delete(plain, [1, 300]))


@settings(deadline=None, max_examples=50)
@given(
    prompt=st.lists(st.integers(1, 4), max_size=12),
    generated=st.lists(st.integers(1, 4), max_size=12),
    length=st.integers(2, 4),
)
def test_the_sequence_penalty_finds_the_tokens_that_transformers_forbids(
    model: CausalModel, prompt: list[int], generated: list[int], length: int
) -> None:
    found = penalized(
        model,
        prompt,
        generated,
        sequence_penalty=Penalty(value=0.7),
        sequence_penalty_min_length=length,
        penalties_include_prompt=True,
    )
    scores = torch.zeros(1, model.vocabulary)
    ids = torch.tensor([prompt + generated], dtype=torch.long)
    forbidden = NoRepeatNGramLogitsProcessor(length)(ids, scores)[0].isinf().numpy()
    assert found == pytest.approx(np.linspace(-3, 3, model.vocabulary) - 0.7 * forbidden)


def test_a_sequence_of_the_prompt_counts_only_when_asked(model: CausalModel) -> None:
    plain = np.linspace(-3, 3, model.vocabulary)
    penalty = Penalty(value=0.7)
    assert penalized(model, [5, 6, 7, 5], [], sequence_penalty=penalty) == pytest.approx(plain)
    assert penalized(model, [5, 6, 7, 5], [], bias=(5, 9), sequence_penalty=penalty)[9] == plain[9] - 0.7
    found = penalized(model, [5], [6, 5], sequence_penalty=penalty)
    assert found[6] == plain[6]  # "5 6" crosses from the prompt, which is not looked at


def test_the_bias_text_counts_as_said(model: CausalModel) -> None:
    plain = np.linspace(-3, 3, model.vocabulary)
    found = penalized(model, [], [4], bias=(9, 9), frequency_penalty=Penalty(value=0.5))
    assert (found[9], found[4]) == (plain[9] - 1.0, plain[4] - 0.5)


def test_exceptions_may_be_repeated(model: CausalModel) -> None:
    """A token of an exception is free where the text before it fits: at its start, or within it."""
    pizza, comma = model.tokenizer.ids(" pizza"), model.tokenizer.ids(",")
    assert len(pizza) > 1
    said = [*pizza, *comma]
    plain = np.linspace(-3, 3, model.vocabulary)
    penalty = {"presence_penalty": Penalty(value=1.0)}
    found = penalized(model, [], said, penalty_exceptions=(" pizza",), **penalty)
    assert found[pizza[0]] == plain[pizza[0]]  # may begin it
    assert found[pizza[1]] == plain[pizza[1]] - 1  # but not go on behind a comma
    assert found[comma[0]] == plain[comma[0]] - 1
    within = penalized(model, [], [*said, pizza[0]], penalty_exceptions=(" pizza",), **penalty)
    assert within[pizza[1]] == plain[pizza[1]]
    stops = penalized(model, [], said, stop_sequences=(",",), **penalty)
    assert stops[comma[0]] == plain[comma[0]]
    without = penalized(
        model, [], said, stop_sequences=(",",), penalty_exceptions_include_stop_sequences=False, **penalty
    )
    assert without[comma[0]] == plain[comma[0]] - 1


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e300])
def test_no_temperature_is_too_extreme(temperature: float) -> None:
    logits = np.array([3.0, 9.0, -np.inf, 8.0, -40.0])
    found = distribution(logits, temperature=temperature, top_k=0, top_p=0.0)
    expected = [0, 1, 0, 0, 0] if temperature < 1 else [0.25, 0.25, 0, 0.25, 0.25]
    assert found == pytest.approx(expected)
    request = Completion(prompt=Prompt.of("a"), temperature=temperature)
    assert choose(logits, request, np.random.default_rng(7)) in {0, 1, 3, 4}


def test_a_refusal_of_biases_repeats_no_text() -> None:
    with pytest.raises(
        InvalidInput, match=r"completion_bias_inclusion\[1\] and completion_bias_exclusion\[0\]"
    ) as error:
        Completion(prompt=Prompt.of("a"), bias_inclusion=("b", "secret"), bias_exclusion=("secret word",))
    assert "secret" not in error.value.message


@settings(deadline=None, max_examples=200)
@given(
    exceptions=st.lists(st.text("aptz, ", min_size=1, max_size=6), min_size=1, max_size=6).map(tuple),
    said=st.lists(st.sampled_from(["a", "p", "t", "z", ",", " p", "at"]), max_size=12),
)
def test_exceptions_by_their_definition(model: CausalModel, exceptions: tuple[str, ...], said: list[str]) -> None:
    generated = [id for piece in said for id in model.tokenizer.ids(piece)]
    text = model.texts.after([], generated)
    found = penalized(model, [], generated, presence_penalty=Penalty(value=1.0), penalty_exceptions=exceptions)
    for id in set(generated):
        free = any(
            exception.startswith(model.texts.label(id), start) and text.endswith(exception[:start])
            for exception in exceptions
            for start in range(len(exception))
        )
        assert (found[id] == np.linspace(-3, 3, model.vocabulary)[id]) == free


def test_as_many_exceptions_as_are_allowed_take_little_time(model: CausalModel) -> None:
    said = [*range(1, model.vocabulary), *model.tokenizer.ids("a" * 100)]

    def penalizing(characters: int) -> Callable[[], object]:
        lengths = range(characters // 10, characters // 10 - 10, -1)
        penalties: dict[str, Any] = {
            "presence_penalty": Penalty(value=1.0),
            "penalty_exceptions": tuple("a" * (length - 1) + "!" for length in lengths),
        }
        return lambda: penalized(model, [], said, **penalties)

    assert_linear(penalizing, MAX_CHARACTERS // 8, MAX_CHARACTERS)
    with pytest.raises(InvalidInput, match=r"penalty_exceptions has 100001 characters in all: at most 100000"):
        Completion(prompt=EMPTY, penalty_exceptions=("a" * 50_000, "b" * 50_001))
