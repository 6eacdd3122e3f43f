"""Explanations by an encoder: against a plain loop, on planted causes, and the arithmetic around them."""

import time
from collections.abc import Sequence

import numpy as np
import pytest

from core.errors import InvalidInput
from core.prompts import (
    ControlOptions,
    ImageItem,
    Prompt,
    TextControl,
    TextItem,
    TokenControl,
    TokenIdsItem,
    TokenOverlap,
)
from core.protocols import Priority, Progress
from core.records import Embeddings, Float64Array, Int64Array, Representation, TokenTrace
from embedder.explaining.explain import explain, finished
from embedder.explaining.request import (
    ExplanationRequest,
    Granularity,
    ImageScores,
    ObjectiveName,
    Postprocessing,
    TargetGranularity,
    TextScores,
    TokenIdsScores,
)
from embedder.explaining.similarity import Similarity
from embedder.local import LocalEncoder

PLANTED = [
    (
        "The festival opened on Friday with a parade through the old town. Local bakeries sold bread and cakes. "
        "A volcano erupted on the nearby island and covered the harbour in ash. The mayor thanked all volunteers.",
        "volcanic eruption",
        "A volcano",
        "volcano",
    ),
    (
        "Our quarterly numbers are solid. Staff moved into the new building in May. The cafeteria menu changed. "
        "Hackers stole the passwords of two million customers last night. Parking remains free.",
        "data breach",
        "Hackers stole",
        "passwords",
    ),
    (
        "She planted tomatoes in spring. The train to Berlin was late again. He bought a new pair of shoes.",
        "rail delays",
        "The train",
        "train",
    ),
    (
        "The recipe needs flour and sugar. Penguins live in Antarctica. My bicycle has a flat tyre. "
        "Interest rates were raised by the central bank.",
        "monetary policy",
        "Interest rates",
        "Interest",
    ),
    (
        "Dr. Meyer opened the meeting at 9 a.m. sharp. The old piano in the hall needs tuning. Lunch was served late.",
        "musical instruments",
        "The old piano",
        "piano",
    ),
]


def cosine(encoder: LocalEncoder, prompt: Prompt, target: Prompt, options: ControlOptions = ControlOptions()) -> float:  # noqa: B008
    """Two embeddings, each made alone."""
    first, second = (
        encoder.encode([p], Representation.SYMMETRIC, options=options).vectors[0].astype(np.float64)
        for p in (prompt, target)
    )
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def span_scores(item: object) -> list[tuple[int, int, float]]:
    assert isinstance(item, TextScores)
    return [(score.start, score.length, score.score) for score in item.scores]


@pytest.mark.parametrize(("text", "target", "sentence", "word"), PLANTED)
def test_a_planted_cause_comes_first(encoder: LocalEncoder, text: str, target: str, sentence: str, word: str) -> None:
    for granularity, cause in ((Granularity.SENTENCE, sentence), (Granularity.WORD, word)):
        request = ExplanationRequest(prompt=Prompt.of(text), target=target, granularity=granularity)
        result = explain(Similarity(encoder), request)
        scores = span_scores(result.explanations[0].items[0])
        start, _, score = max(scores, key=lambda s: s[2])
        assert text[start:].startswith(cause)
        assert score > 0.02
        assert result.objective is ObjectiveName.SIMILARITY


@pytest.mark.parametrize("overlap", list(TokenOverlap))
@pytest.mark.parametrize("log_additive", [True, False])
def test_scores_are_those_of_a_plain_loop(encoder: LocalEncoder, overlap: TokenOverlap, log_additive: bool) -> None:
    """Thirty words, each suppressed in a prompt of its own that is embedded alone; one word is steered already."""
    text, target = PLANTED[1][:2]
    own = (TextControl(start=4, length=9, factor=2.0),)
    options = ControlOptions(log_additive=log_additive, contextual_threshold=0.6)
    prompt = Prompt.of(text, own)
    request = ExplanationRequest(prompt=prompt, target=target, token_overlap=overlap, options=options)
    result = explain(Similarity(encoder), request)
    assert result.granularity is Granularity.WORD
    scores = span_scores(result.explanations[0].items[0])
    words = text.split()
    assert [text[start : start + length] for start, length, _ in scores] == words
    assert len(words) == 30
    aim = Prompt.of(target)
    base = cosine(encoder, prompt, aim, options)
    assert result.explanations[0].value == pytest.approx(base, abs=1e-4)
    position = 0
    for word, (start, length, score) in zip(words, scores, strict=True):
        position = text.index(word, position)
        assert (start, length) == (position, len(word))
        control = TextControl(start=position, length=len(word), factor=0.1)
        position += len(word)
        expected = base - cosine(encoder, Prompt.of(text, (*own, control)), aim, options)
        assert score == pytest.approx(expected, abs=1e-4)


def test_target_tokens_sum_to_the_complete_target(encoder: LocalEncoder) -> None:
    text, target = PLANTED[0][:2]
    prompt, aim = Prompt.of(text), f"{target} and ash!"
    complete = explain(
        Similarity(encoder), ExplanationRequest(prompt=prompt, target=aim, granularity=Granularity.SENTENCE)
    ).explanations
    by_token = explain(
        Similarity(encoder),
        ExplanationRequest(
            prompt=prompt,
            target=aim,
            granularity=Granularity.SENTENCE,
            target_granularity=TargetGranularity.TOKEN,
        ),
    ).explanations
    assert "".join(explanation.target for explanation in by_token) == aim == complete[0].target
    assert complete[0].target_scores == ()
    assert [len(explanation.target_scores) for explanation in by_token] == list(range(len(by_token)))
    assert len(by_token) == len(encoder.token_spans(aim))
    assert sum(explanation.value for explanation in by_token) == pytest.approx(complete[0].value, abs=1e-9)
    sums = np.sum([[s for _, _, s in span_scores(e.items[0])] for e in by_token], axis=0)
    assert sums == pytest.approx([s for _, _, s in span_scores(complete[0].items[0])], abs=1e-9)


def test_what_precedes_a_target_token_is_suppressed_within_the_target(encoder: LocalEncoder) -> None:
    prompt, target = Prompt.of(PLANTED[0][0]), "volcano eruption ash"
    request = ExplanationRequest(
        prompt=prompt, target=target, target_granularity=TargetGranularity.TOKEN, granularity=Granularity.PARAGRAPH
    )
    last = explain(Similarity(encoder), request).explanations[-1]
    assert last.target == " ash"
    found = [(s.start, s.length) for s in last.target_scores]
    assert found == [(0, 7), (8, 8)]
    for (start, length), score in zip(found, last.target_scores, strict=True):
        control = (TextControl(start=start, length=length, factor=0.1),)
        idle = cosine(encoder, prompt, Prompt.of(target)) - cosine(encoder, prompt, Prompt.of(target[:16]))
        without = cosine(encoder, prompt, Prompt.of(target, control)) - cosine(
            encoder, prompt, Prompt.of(target[:16], control)
        )
        assert score.score == pytest.approx(idle - without, abs=1e-4)


def test_items_of_several_kinds_come_back_in_order(encoder: LocalEncoder) -> None:
    ids = tuple(encoder.tokenizer.ids("a volcano erupted"))
    prompt = Prompt(items=(TextItem(text="Bread. Cake."), TokenIdsItem(ids=ids), TextItem(text=" ")))
    request = ExplanationRequest(prompt=prompt, target="eruption", granularity=Granularity.SENTENCE)
    [explanation] = explain(Similarity(encoder), request).explanations
    first, second, third = explanation.items
    assert [s[:2] for s in span_scores(first)] == [(0, 6), (7, 5)]
    assert span_scores(third) == []
    assert isinstance(second, TokenIdsScores)
    assert len(second.scores) == len(ids)
    without = TokenIdsItem(ids=ids, controls=(TokenControl(index=1, factor=0.1),))
    changed = Prompt(items=(prompt.items[0], without, prompt.items[2]))
    aim = Prompt.of("eruption")
    assert second.scores[1] == pytest.approx(cosine(encoder, prompt, aim) - cosine(encoder, changed, aim), abs=1e-4)
    assert max(second.scores) == second.scores[2] > max(s[2] for s in span_scores(first))


def test_a_factor_of_one_explains_nothing(encoder: LocalEncoder) -> None:
    request = ExplanationRequest(prompt=Prompt.of("one two three"), target="two", control_factor=1.0, normalize=True)
    [explanation] = explain(Similarity(encoder), request).explanations
    assert [s[2] for s in span_scores(explanation.items[0])] == [0, 0, 0]


def test_what_the_model_does_not_read_is_said(encoder: LocalEncoder) -> None:
    text = "A volcano erupted. " * 70 + "\n\nThe end came late."
    request = ExplanationRequest(prompt=Prompt.of(text), target="the end", granularity=Granularity.PARAGRAPH)
    result = explain(Similarity(encoder), request)
    assert result.truncated
    assert span_scores(result.explanations[0].items[0])[1][2] == pytest.approx(0, abs=1e-6)


def test_too_long_a_target_is_refused_by_token_alone(encoder: LocalEncoder) -> None:
    long = "word " * 90
    request = ExplanationRequest(prompt=Prompt.of("a word"), target=long)
    assert len(explain(Similarity(encoder), request).explanations) == 1
    request = ExplanationRequest(prompt=Prompt.of("a word"), target=long, target_granularity=TargetGranularity.TOKEN)
    with pytest.raises(InvalidInput, match="at most 3000") as raised:
        explain(Similarity(encoder), request)
    assert raised.value.param == "target_granularity"


def test_postprocessing_comes_before_scaling() -> None:
    raw = np.array([-3.0, 1.0, 2.0])
    assert finished(raw, Postprocessing.NONE, False).tolist() == [-3, 1, 2]
    assert finished(raw, Postprocessing.ABSOLUTE, False).tolist() == [3, 1, 2]
    assert finished(raw, Postprocessing.SQUARE, False).tolist() == [9, 1, 4]
    assert finished(raw, Postprocessing.NONE, True).tolist() == pytest.approx([0, 0.8, 1])
    assert finished(raw, Postprocessing.ABSOLUTE, True).tolist() == [1, 0, 0.5]
    assert finished(raw, Postprocessing.SQUARE, True).tolist() == [1, 0, 0.375]
    assert finished(np.array([2.0, 2.0]), Postprocessing.NONE, True).tolist() == [0, 0]


def test_scaling_covers_the_targets_tokens_too(encoder: LocalEncoder) -> None:
    request = ExplanationRequest(
        prompt=Prompt.of(PLANTED[0][0]),
        target="volcano eruption ash",
        granularity=Granularity.SENTENCE,
        target_granularity=TargetGranularity.TOKEN,
        normalize=True,
    )
    for explanation in explain(Similarity(encoder), request).explanations:
        scores = [s[2] for s in span_scores(explanation.items[0])] + [s.score for s in explanation.target_scores]
        assert (min(scores), max(scores)) == (0, 1)


class GridEncoder:
    """Images of 12 x 12 grey bytes to their mean under the controls and a constant; texts to the grey that they name.

    Each cell's weight is its factor, reckoned from the share of its area that a control covers, as for real patches.
    """

    name, fingerprint, dimension, max_tokens = "grid", "grid", 2, 100

    def encode(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = ControlOptions(),  # noqa: B008
        priority: Priority = Priority.INTERACTIVE,
        progress: Progress | None = None,
    ) -> Embeddings:
        grey = [self._grey(prompt) for prompt in prompts]
        angles = np.array(grey) / 255 * np.pi / 2
        vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        ones = np.ones(len(prompts), dtype=np.int64)
        return Embeddings(vectors=vectors, token_counts=ones, truncated=ones == 0)

    def trace(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = ControlOptions(),  # noqa: B008
    ) -> list[TokenTrace] | None:
        return None

    def token_spans(self, text: str) -> Int64Array:
        return np.array([[0, len(text)]])

    def overhead(self, representation: Representation) -> int:
        return 0

    def _grey(self, prompt: Prompt) -> float:
        item = prompt.items[0]
        if isinstance(item, TextItem):
            return float(item.text)
        assert isinstance(item, ImageItem)
        weights: Float64Array = np.ones((12, 12))
        for control in item.controls:
            columns = _covered(control.left, control.width)
            rows = _covered(control.top, control.height)
            weights *= 1 + (control.factor - 1) * rows[:, None] * columns[None, :]
        cells = np.frombuffer(item.data, dtype=np.uint8).reshape(12, 12)
        return float((weights * cells).sum() / weights.sum())


def _covered(start: float, length: float) -> Float64Array:
    """(12,) the share of each twelfth of a side that lies between start and start + length."""
    edges = np.arange(13) / 12
    found: Float64Array = np.clip(np.minimum(edges[1:], start + length) - np.maximum(edges[:-1], start), 0, None) * 12
    return found


@pytest.mark.parametrize(
    ("granularity", "side", "where"),
    [(Granularity.TOKEN, 12, 8 * 12 + 5), (Granularity.WORD, 6, 4 * 6 + 2), (Granularity.SENTENCE, 3, 2 * 3 + 1)],
)
def test_the_bright_tile_of_an_image_comes_first(granularity: Granularity, side: int, where: int) -> None:
    cells = np.zeros((12, 12), dtype=np.uint8)
    cells[8, 5] = 255
    request = ExplanationRequest(
        prompt=Prompt(items=(ImageItem(data=cells.tobytes()),)), target="255", granularity=granularity
    )
    [explanation] = explain(Similarity(GridEncoder()), request).explanations
    [item] = explanation.items
    assert isinstance(item, ImageScores)
    assert len(item.scores) == side * side
    scores = [tile.score for tile in item.scores]
    assert int(np.argmax(scores)) == where
    assert scores[where] > 0 > max(score for i, score in enumerate(scores) if i != where)
    best = item.scores[where]
    assert best.left <= 5.5 / 12 <= best.left + best.width
    assert best.top <= 8.5 / 12 <= best.top + best.height


def test_what_is_too_much_is_refused_at_once(encoder: LocalEncoder) -> None:
    """By numbers alone: the pairs of 20,000 target tokens would not even fit into memory."""
    request = ExplanationRequest(
        prompt=Prompt.of("rain"), target="word " * 20_000, target_granularity=TargetGranularity.TOKEN
    )
    started = time.perf_counter()
    with pytest.raises(InvalidInput, match="need 200030002 embeddings, at most 3000 are allowed"):
        explain(Similarity(encoder), request)
    assert time.perf_counter() - started < 10
    for prompt, target in (("a" * 100_001, "b"), ("a", "b" * 100_001)):
        with pytest.raises(InvalidInput, match="has 100001 characters: at most 100000 can be explained"):
            ExplanationRequest(prompt=Prompt.of(prompt), target=target)
