"""Explanations by a causal language model: a model that was taught one rule, and a plain loop."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from core.errors import InvalidInput
from core.prompts import ControlOptions, ImageItem, Prompt, TextControl, TextItem, TokenControl, TokenIdsItem
from embedder.causal.evaluate import evaluate
from embedder.causal.model import CausalModel, load_causal
from embedder.explaining.crossentropy import CrossEntropy
from embedder.explaining.explain import explain
from embedder.explaining.request import (
    Explanation,
    ExplanationRequest,
    Granularity,
    ObjectiveName,
    TargetGranularity,
    TextScores,
    TokenIdsScores,
)
from tests.embedder.causal.tiny import save_tiny_causal

CPU = torch.device("cpu")
COLOURS = "red blue green white black grey brown pink".split()
FILLERS = "house lake tree road train piano bread river cloud stone chair shoe".split()
WORDS = ["<end>", "so", *COLOURS, *FILLERS]
LENGTH = 9


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> CausalModel:
    """Knows one thing: behind "so" comes the colour that stands somewhere among the other words, and then the end."""
    torch.manual_seed(1)
    network = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(WORDS), n_embd=32, n_layer=1, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0
        )
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(120):
        batch = torch.randint(2 + len(COLOURS), len(WORDS), (64, LENGTH + 2))
        colours = torch.randint(2, 2 + len(COLOURS), (64,))
        batch[torch.arange(64), torch.randint(0, LENGTH, (64,))] = colours
        batch[:, LENGTH], batch[:, LENGTH + 1] = 1, colours
        loss = cross_entropy(network(batch).logits[:, LENGTH], colours)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    attention = network.transformer.h[0].attn.c_attn
    with torch.no_grad():  # cooled: an attention that has eyes for one word alone does not feel a factor of 0.1
        attention.weight[:, :32] *= 0.03
        attention.bias[:32] *= 0.03
    folder = tmp_path_factory.mktemp("taught") / "colours"
    network.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    return load_causal(folder, device=CPU)


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> CausalModel:
    return load_causal(save_tiny_causal(tmp_path_factory.mktemp("causal") / "llama", "llama"), device=CPU)


def words_of(explanation: Explanation, text: str) -> dict[str, float]:
    [item] = explanation.items
    assert isinstance(item, TextScores)
    return {text[score.start : score.start + score.length]: score.score for score in item.scores}


@pytest.mark.parametrize("place", range(0, LENGTH, 2))
@pytest.mark.parametrize("colour", ["red", "pink"])
def test_the_cause_that_the_model_was_taught_comes_first(taught: CausalModel, colour: str, place: int) -> None:
    words = FILLERS[:LENGTH]
    words[place] = colour
    text = " ".join([*words, "so"])
    result = explain(
        CrossEntropy(taught), ExplanationRequest(prompt=Prompt.of(text), target=colour, granularity=Granularity.WORD)
    )
    assert result.objective is ObjectiveName.CROSS_ENTROPY
    [explanation] = result.explanations
    assert explanation.value > np.log(0.7)
    scores = words_of(explanation, text)
    ranked = sorted(scores, key=lambda word: -scores[word])
    assert ranked[0] == colour
    assert scores[colour] > 0.1
    assert scores[colour] > 3 * scores[ranked[1]]


@pytest.mark.parametrize("log_additive", [True, False])
@pytest.mark.parametrize("threshold", [None, 0.5])
def test_scores_are_those_of_a_plain_loop(
    random_model: CausalModel, log_additive: bool, threshold: float | None
) -> None:
    """Each word suppressed in a prompt of its own, evaluated alone; one word is steered already."""
    text, target = "Andreas likes the red house by the lake", " pizza every day"
    options = ControlOptions(log_additive=log_additive, contextual_threshold=threshold)
    own = (TextControl(start=18, length=9, factor=3.0),)
    request = ExplanationRequest(
        prompt=Prompt.of(text, own), target=target, granularity=Granularity.WORD, control_factor=0.2, options=options
    )
    [explanation] = explain(CrossEntropy(random_model), request).explanations
    assert explanation.target == target
    assert explanation.target_scores == ()
    base = evaluate(random_model, Prompt.of(text, own), target, options=options).log_probability
    assert explanation.value == pytest.approx(base, abs=1e-4)
    [item] = explanation.items
    assert isinstance(item, TextScores)
    assert len(item.scores) == 8
    for score in item.scores:
        control = TextControl(start=score.start, length=score.length, factor=0.2)
        without = evaluate(random_model, Prompt.of(text, (*own, control)), target, options=options).log_probability
        assert score.score == pytest.approx(base - without, abs=1e-4)


def test_target_tokens_sum_to_the_complete_target(random_model: CausalModel) -> None:
    text, target = "Andreas likes the red house", " pizza every day 苹果!"
    complete, by_token = (
        explain(
            CrossEntropy(random_model),
            ExplanationRequest(
                prompt=Prompt.of(text), target=target, granularity=Granularity.WORD, target_granularity=granularity
            ),
        ).explanations
        for granularity in TargetGranularity
    )
    assert "".join(explanation.target for explanation in by_token) == target
    assert len(by_token) == len(random_model.tokenizer.ids(target))
    assert all(len(explanation.target_scores) <= k for k, explanation in enumerate(by_token))
    assert sum(explanation.value for explanation in by_token) == pytest.approx(complete[0].value, abs=1e-4)
    for word, score in words_of(complete[0], text).items():
        assert sum(words_of(explanation, text)[word] for explanation in by_token) == pytest.approx(score, abs=1e-4)


def test_what_precedes_a_target_token_is_suppressed_within_the_target(random_model: CausalModel) -> None:
    text, target = "Andreas likes", " pizza every day"
    ids = tuple(random_model.tokenizer.ids(target))
    explanations = explain(
        CrossEntropy(random_model),
        ExplanationRequest(
            prompt=Prompt.of(text),
            target=target,
            granularity=Granularity.WORD,
            target_granularity=TargetGranularity.TOKEN,
        ),
    ).explanations
    for k in range(1, len(ids)):
        visible = [j for j in range(k) if explanations[j].target.strip()]
        assert len(visible) >= k - 2
        for j, score in zip(visible, explanations[k].target_scores, strict=True):
            idle, without = (
                random_model.read(
                    Prompt(items=(TextItem(text=text), TokenIdsItem(ids=ids[:k], controls=controls))), ControlOptions()
                )
                for controls in ((), (TokenControl(index=j, factor=0.1),))
            )
            values = []
            for read in (idle, without):
                factors = None if read.factors is None else read.factors[None].astype(np.float32)
                logits = random_model.logits(read.ids, factors, keep=1)[0, 0]
                values.append(float(torch.log_softmax(logits.double(), -1)[ids[k]]))
            assert score.score == pytest.approx(values[0] - values[1], abs=1e-4)


def test_many_units_are_read_in_several_batches(random_model: CausalModel) -> None:
    """A 100-token prompt by token is more than one batch holds; each score is still that of a row alone."""
    ids = tuple(int(i) for i in np.random.default_rng(0).integers(5, 300, 100))
    request = ExplanationRequest(prompt=Prompt(items=(TokenIdsItem(ids=ids),)), target=" pizza")
    [explanation] = explain(CrossEntropy(random_model), request).explanations
    [item] = explanation.items
    assert isinstance(item, TokenIdsScores)
    assert len(item.scores) == 100
    for index in (0, 17, 99):
        control = (TokenControl(index=index, factor=0.1),)
        without = evaluate(random_model, Prompt(items=(TokenIdsItem(ids=ids, controls=control),)), " pizza")
        assert item.scores[index] == pytest.approx(explanation.value - without.log_probability, abs=1e-4)


def test_a_factor_of_one_explains_nothing(random_model: CausalModel) -> None:
    request = ExplanationRequest(prompt=Prompt.of("red house"), target=" lake", control_factor=1.0)
    [explanation] = explain(CrossEntropy(random_model), request).explanations
    assert set(words_of(explanation, "red house").values()) == {0.0}


@pytest.mark.parametrize(
    ("prompt", "target", "param"),
    [
        (Prompt.of(" \n"), "t", "prompt"),
        (Prompt.of("house " * 10), " target" * 60, "target"),
        (Prompt(items=(ImageItem(data=b"x"),)), "t", "prompt"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    random_model: CausalModel, prompt: Prompt, target: str, param: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        explain(CrossEntropy(random_model), ExplanationRequest(prompt=prompt, target=target))
    assert raised.value.param == param
