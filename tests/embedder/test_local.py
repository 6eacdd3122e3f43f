"""The default model: determinism, truncation, steering."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy.special import erf, softmax

from core.prompts import ControlOptions, ControlTarget, Prompt, TextControl
from core.records import Representation
from embedder.attribution import parts
from embedder.kinds import DEFAULT_MODEL, model_folder
from embedder.loading import load_encoder
from embedder.local import LocalEncoder
from embedder.precision import Precision
from tests.embedder.tokenmatrix import token_matrix

QUERY = "I want to play on my TV."
TEXTS = [
    QUERY,
    "wolf " * 400,
    "x",
    "",
    "\u4f60\u597d \U0001f3ae e\u0301 \u05e9\u05dc\u05d5\u05dd",
    "Red shoes for a summer wedding. " * 6,
]


def steered(text: str, word: str, factor: float) -> Prompt:
    return Prompt.of(text, controls=(TextControl(start=text.index(word), length=len(word), factor=factor),))


def vector(encoder: LocalEncoder, prompt: Prompt, **options: object) -> np.ndarray:
    return encoder.encode([prompt], Representation.QUERY, options=ControlOptions(**options)).vectors[0]  # type: ignore[arg-type]


def test_a_text_has_the_same_vector_alone_and_in_a_batch(encoder: LocalEncoder) -> None:
    prompts = [*(Prompt.of(t) for t in TEXTS), steered(QUERY, "play", 7), steered(QUERY, "TV", 0)]
    batch = encoder.encode(prompts, Representation.DOCUMENT)
    for i, prompt in enumerate(prompts):
        alone = encoder.encode([prompt], Representation.DOCUMENT)
        assert np.abs(alone.vectors[0] - batch.vectors[i]).max() < 1e-5
    assert np.linalg.norm(batch.vectors, axis=1) == pytest.approx(1, abs=1e-6)


@pytest.fixture(scope="module")
def fast() -> LocalEncoder:
    """In the precision of this machine: where that is bf16, one bit makes the fourth digit of a score another."""
    return load_encoder(device="cpu")


@pytest.mark.parametrize("longest", [26, 300])
def test_a_text_is_rounded_alike_in_any_company(fast: LocalEncoder, longest: int) -> None:
    """Whoever asks beside it: one may not see that from its vectors, and what is explained anew must be the same."""
    words = "tea harbour green a river of light and the old bridge where nobody plays any music on sundays".split()
    texts = [" ".join((words * 20)[i % 5 :][: 1 + 7 * i * (longest // 26) % longest]) for i in range(60)]
    prompts = [Prompt.of(text) if i % 7 else steered(text, text[:3], 4) for i, text in enumerate(texts)]
    alone = np.concatenate([fast.encode([prompt], Representation.QUERY).vectors for prompt in prompts])
    traces = [_traced(fast, [prompt])[0] for prompt in prompts]
    for size in (2, 7, 12, 60):
        for start in range(0, len(prompts), size):
            some = slice(start, start + size)
            together = fast.encode(prompts[some], Representation.QUERY).vectors
            beside = _traced(fast, prompts[some])
            if fast.precision is Precision.BF16:
                assert together.tobytes() == alone[some].tobytes()
                assert all(np.array_equal(a, b) for a, b in zip(beside, traces[some], strict=True))
            assert np.abs(together - alone[some]).max() < 1e-6


def _traced(encoder: LocalEncoder, prompts: list[Prompt]) -> list[np.ndarray]:  # type: ignore[type-arg]
    traces = encoder.trace(prompts, Representation.QUERY)
    assert traces is not None
    return [trace.vectors for trace in traces]


def test_truncation_and_token_counts_are_reported(encoder: LocalEncoder) -> None:
    found = encoder.encode([Prompt.of(t) for t in TEXTS], Representation.DOCUMENT)
    assert found.truncated.tolist() == [False, True, False, False, False, False]
    assert found.token_counts[:4].tolist() == [10, 256, 3, 2]
    assert len(encoder.token_spans(TEXTS[1])) == 400


def test_nothing_to_embed_gives_an_empty_array(encoder: LocalEncoder) -> None:
    assert encoder.encode([], Representation.QUERY).vectors.shape == (0, 384)


def test_progress_counts_every_prompt_once(encoder: LocalEncoder) -> None:
    seen: list[int] = []
    encoder.encode([Prompt.of(t) for t in TEXTS], Representation.DOCUMENT, progress=seen.append)
    assert sum(seen) == len(TEXTS)


@pytest.mark.parametrize("log_additive", [True, False])
@pytest.mark.parametrize("target", list(ControlTarget))
def test_factor_one_changes_nothing(encoder: LocalEncoder, target: ControlTarget, log_additive: bool) -> None:
    plain = vector(encoder, Prompt.of(QUERY))
    same = vector(
        encoder, steered(QUERY, "play", 1), target=target, log_additive=log_additive, contextual_threshold=0.0
    )
    assert np.abs(plain - same).max() < 1e-6


def test_the_multiplicative_form_with_factors_of_one_is_plain_attention(encoder: LocalEncoder) -> None:
    options = ControlOptions(log_additive=False, target=ControlTarget.ATTENTION)
    long = "A much longer text about a red car and a house, " * 3
    texts = [steered(long, "red", 3), steered(QUERY, "play", 1 + 1e-9)]
    batch = encoder.encode(texts, Representation.QUERY, options=options)
    assert np.abs(batch.vectors[1] - vector(encoder, Prompt.of(QUERY))).max() < 1e-6


def test_a_plain_text_is_not_computed_by_the_multiplicative_form_of_its_neighbours(encoder: LocalEncoder) -> None:
    """In bf16 that form rounds otherwise, which a network of large weights makes much of."""
    options = ControlOptions(log_additive=False)
    texts = [steered("I like to play", "play", 3), Prompt.of(QUERY), steered("a red car", "red", 0), Prompt.of("wolf")]
    together = encoder.encode(texts, Representation.QUERY, options=options).vectors
    for prompt, row in zip(texts, together, strict=True):
        alone = encoder.encode([prompt], Representation.QUERY, options=options).vectors[0]
        assert np.array_equal(alone, row)


@pytest.mark.parametrize("target", [ControlTarget.AUTO, ControlTarget.BOTH])
@pytest.mark.parametrize(("one", "other"), [("red", "big"), ("wolf", "rain"), ("seven", "green")])
def test_factor_zero_isolates_a_word(encoder: LocalEncoder, target: ControlTarget, one: str, other: str) -> None:
    vectors = [vector(encoder, steered(f"I bought a {w} car today", w, 0), target=target) for w in (one, other)]
    assert vectors[0] @ vectors[1] >= 0.9999
    plain = [vector(encoder, Prompt.of(f"I bought a {w} car today")) for w in (one, other)]
    assert plain[0] @ plain[1] < 0.99


@pytest.mark.parametrize("log_additive", [True, False])
def test_attention_controls_equal_a_forward_pass_written_out(encoder: LocalEncoder, log_additive: bool) -> None:
    factors = np.ones(10)
    factors[4] = 3.0  # "play"
    options = {"target": ControlTarget.ATTENTION, "log_additive": log_additive}
    assert (
        np.abs(vector(encoder, steered(QUERY, "play", 3), **options) - slow_bert(encoder, factors, log_additive)).max()
        < 1e-5
    )


def slow_bert(encoder: LocalEncoder, factors: np.ndarray, log_additive: bool) -> np.ndarray:
    """The model's forward pass for QUERY, layer by layer and head by head in float64, with factors on the keys."""
    weights = {
        k: v.numpy().astype(np.float64) for k, v in load_file(model_folder(DEFAULT_MODEL) / "model.safetensors").items()
    }
    ids = encoder.tokenizer.tokenize([Prompt.of(QUERY)])[0].ids

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-12)
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    embeddings = [weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")]
    x = norm(embeddings[0][ids] + embeddings[1][: len(ids)] + embeddings[2][0], "embeddings.LayerNorm")
    for layer in range(6):
        name = f"encoder.layer.{layer}"
        q, k, v = (linear(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        heads = []
        for h in range(12):
            cut = slice(32 * h, 32 * (h + 1))
            scores = q[:, cut] @ k[:, cut].T / np.sqrt(32)
            if log_additive:
                scores = scores + np.log(factors)
            else:
                scores = (scores - scores.min(axis=1, keepdims=True)) * factors
            heads.append(softmax(scores, axis=1) @ v[:, cut])
        x = norm(
            linear(np.concatenate(heads, axis=1), f"{name}.attention.output.dense") + x,
            f"{name}.attention.output.LayerNorm",
        )
        y = linear(x, f"{name}.intermediate.dense")
        y = y * 0.5 * (1 + erf(y / np.sqrt(2)))
        x = norm(linear(y, f"{name}.output.dense") + x, f"{name}.output.LayerNorm")
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


def test_auto_moves_the_attention_above_one_and_is_both_below(encoder: LocalEncoder) -> None:
    auto, both, pool = ({"target": t} for t in (ControlTarget.AUTO, ControlTarget.BOTH, ControlTarget.POOL))
    low, high = steered(QUERY, "play", 0.3), steered(QUERY, "play", 7)
    assert np.array_equal(vector(encoder, low, **auto), vector(encoder, low, **both))
    assert not np.allclose(vector(encoder, high, **auto), vector(encoder, high, **both), atol=1e-3)
    assert not np.allclose(vector(encoder, high, **auto), vector(encoder, high, **pool), atol=1e-3)


def test_the_contextual_threshold_steers_what_means_the_same(encoder: LocalEncoder) -> None:
    text = "a movie and a film and a truck"
    pool = ControlTarget.POOL

    def reached(word: str, threshold: float | None) -> bool:
        trace = encoder.trace(
            [steered(text, "movie", 0.1)],
            Representation.QUERY,
            options=ControlOptions(target=pool, contextual_threshold=threshold),
        )
        assert trace is not None
        token = int(np.flatnonzero(trace[0].spans[:, 0] == text.index(word))[-1])
        return bool(trace[0].weights[token] < 1)

    assert reached("movie", None)
    assert not reached("film", None)
    assert reached("film", 0.5)
    assert not reached("truck", 0.5)
    assert not reached("film", 1.0)


def test_suppressing_every_word_still_gives_a_vector(encoder: LocalEncoder) -> None:
    """The special tokens are never steered: they hold the pool."""
    found = vector(encoder, Prompt.of("red car", controls=(TextControl(start=0, length=7, factor=0),)))
    assert np.isfinite(found).all()
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)


def test_extreme_factors_keep_the_vector_finite(encoder: LocalEncoder) -> None:
    for factor in (1e-30, 1e3):
        for target in ControlTarget:
            assert np.isfinite(vector(encoder, steered(QUERY, "play", factor), target=target)).all()


def test_threads_do_not_see_one_anothers_controls(encoder: LocalEncoder) -> None:
    prompts = [steered(QUERY, "play", factor) for factor in (0, 0.1, 2, 7)] + [Prompt.of(QUERY)]
    expected = [vector(encoder, p) for p in prompts]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: vector(encoder, prompts[i % 5]), range(40)))
    for i, value in enumerate(found):
        assert np.abs(value - expected[i % 5]).max() < 1e-6


@settings(max_examples=20, deadline=None)
@given(text=st.text(min_size=1, max_size=60), factor=st.sampled_from([0.0, 0.5, 7.0]), data=st.data())
def test_the_trace_gives_the_embedding(encoder: LocalEncoder, text: str, factor: float, data: st.DataObject) -> None:
    text = text.encode("utf-8", "ignore").decode()
    if not text:
        return
    start = data.draw(st.integers(0, len(text) - 1))
    assume(not text[start : start + 3].isspace())
    prompt = Prompt.of(text, controls=(TextControl(start=start, length=3, factor=factor),))
    traces = encoder.trace([prompt, Prompt.of(QUERY)], Representation.QUERY)
    assert traces is not None
    mine, plain = traces
    assert np.abs(parts(mine).sum(axis=0) - vector(encoder, prompt)).max() < 1e-5
    cosine = float(vector(encoder, prompt) @ vector(encoder, Prompt.of(QUERY)))
    assert token_matrix(mine, plain).sum() == pytest.approx(cosine, abs=1e-5)
    assert (mine.spans <= len(text)).all()


def test_vectors_and_traces_of_one_pass_are_those_of_two(encoder: LocalEncoder) -> None:
    steered = Prompt.of(QUERY, controls=(TextControl(start=2, length=4, factor=3),))
    prompts = [Prompt.of("the wolf"), steered, Prompt.of("a red dress of cotton")]
    made, traces = encoder.encode_traced(prompts, Representation.QUERY)
    assert traces is not None
    assert made.vectors.tobytes() == encoder.encode(prompts, Representation.QUERY).vectors.tobytes()
    for one, other in zip(traces, encoder.trace(prompts, Representation.QUERY) or [], strict=True):
        assert (one.vectors.tobytes(), one.weights.tobytes()) == (other.vectors.tobytes(), other.weights.tobytes())
        np.testing.assert_array_equal(one.spans, other.spans)
