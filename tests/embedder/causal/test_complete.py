"""Completions: against transformers' own generation, against a plain loop without a cache, and each parameter."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from core.context import Awaited, awaited
from core.errors import Abandoned, InvalidInput
from core.prompts import ControlOptions, Prompt, TextControl, TextItem, TokenIdsItem
from core.protocols import RanBatch
from embedder.causal.complete import complete
from embedder.causal.evaluate import evaluate
from embedder.causal.model import CausalModel, load_causal
from embedder.causal.request import CompletedText, Completion, FinishReason, Penalty
from tests.embedder.causal.tiny import save_tiny_causal

TEXT = "Andreas likes the red house"
STEERED = Prompt.of(TEXT, (TextControl(start=0, length=7, factor=0.05), TextControl(start=18, length=3, factor=5.0)))


def one(model: CausalModel, text: str = TEXT, **arguments: Any) -> CompletedText:
    [found] = complete(model, Completion(prompt=Prompt.of(text), **arguments)).completions
    return found


def ids_of(found: CompletedText, model: CausalModel) -> list[int]:
    """The generated ids, found again by the labels of tokens."""
    by_label = {model.texts.label(int(id)): int(id) for id in model.texts.known_ids}
    assert found.tokens is not None
    return [by_label[label] for label in found.tokens]


@pytest.mark.parametrize("minimum", [0, 8])
def test_greedy_is_what_transformers_generates(folder: Path, any_model: CausalModel, minimum: int) -> None:
    stock = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for text in (TEXT, "An apple a day", "x"):
        ids = torch.tensor([any_model.tokenizer.ids(text)])
        expected = stock.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20, min_new_tokens=minimum
        )[0, ids.shape[1] :].tolist()
        found = one(any_model, text, maximum_tokens=20, minimum_tokens=minimum, tokens=True)
        assert ids_of(found, any_model) == expected
        ended = expected[-1] == 0
        assert found.finish_reason is (FinishReason.END_OF_TEXT if ended else FinishReason.MAXIMUM_TOKENS)


@pytest.mark.parametrize("log_additive", [True, False])
@pytest.mark.parametrize("threshold", [None, 0.2])
def test_the_cache_changes_nothing(any_model: CausalModel, log_additive: bool, threshold: float | None) -> None:
    """A plain loop reads everything anew for every token. What is steered says something else than what is not."""
    options = ControlOptions(log_additive=log_additive, contextual_threshold=threshold)
    read = any_model.read(STEERED, options)
    ids, expected = read.ids.tolist(), []
    assert read.factors is not None
    for _ in range(12):
        factors = np.ones((1, len(ids) + len(expected)), dtype=np.float32)
        factors[0, : len(ids)] = read.factors
        logits = any_model.logits(np.array(ids + expected), factors, keep=1, log_additive=log_additive)[0, 0]
        expected.append(1 + int(logits[1:].argmax()))  # all but the end of text
    request = Completion(prompt=STEERED, options=options, maximum_tokens=12, minimum_tokens=12, tokens=True)
    [found] = complete(any_model, request).completions
    assert ids_of(found, any_model) == expected
    assert expected != ids_of(one(any_model, maximum_tokens=12, minimum_tokens=12, tokens=True), any_model)


def test_a_seed_makes_sampling_repeatable_and_rows_independent(model: CausalModel) -> None:
    def texts(**arguments: Any) -> list[str]:
        request = Completion(prompt=Prompt.of(TEXT), temperature=0.9, maximum_tokens=12, **arguments)
        return [found.completion for found in complete(model, request).completions]

    assert texts(seed=5, n=4) == texts(seed=5, n=4)
    assert texts(seed=5, n=4)[:2] == texts(seed=5, n=2)
    assert len(set(texts(seed=5, n=4))) == 4
    assert texts(n=3) != texts(n=3)


def test_rows_end_at_different_times(tmp_path: Path) -> None:
    """Rows that are done leave the batch; each of those that stay is what it would be alone."""
    model = load_causal(save_tiny_causal(tmp_path / "m"), device=torch.device("cpu"))
    request = Completion(
        prompt=STEERED, temperature=1.0, maximum_tokens=25, n=12, seed=3, logit_bias={0: 3.0}, tokens=True, log_probs=0
    )
    result = complete(model, request)
    lengths = [len(found.tokens or ()) for found in result.completions]
    assert len(set(lengths)) > 3
    assert result.generated_tokens == sum(lengths)
    assert result.prompt_tokens == 12 * len(model.tokenizer.ids(TEXT))
    read = model.read(STEERED, request.options)
    assert read.factors is not None
    for found in result.completions:
        ids = ids_of(found, model)
        factors = np.concatenate([read.factors, np.ones(len(ids))])[None].astype(np.float32)
        whole = model.logits(np.array([*read.ids, *ids]), factors, keep=len(ids) + 1)[0, :-1]
        expected = torch.log_softmax(whole.double(), -1)[torch.arange(len(ids)), ids].tolist()
        assert found.log_probs is not None
        for label, probabilities, value in zip(found.tokens or (), found.log_probs, expected, strict=True):
            assert probabilities == {label: pytest.approx(value, abs=1e-4)}


def test_the_best_are_those_of_the_highest_log_probability_per_token(model: CausalModel) -> None:
    def run(**arguments: Any) -> list[CompletedText]:
        request = Completion(
            prompt=Prompt.of(TEXT), temperature=1.0, seed=1, maximum_tokens=8, log_probs=0, tokens=True, **arguments
        )
        return list(complete(model, request).completions)

    def score(found: CompletedText) -> float:
        assert found.log_probs is not None
        return float(np.mean([value for position in found.log_probs for value in position.values() if value]))

    every, best = run(n=6), run(n=2, best_of=6)
    assert best == sorted(every, key=score, reverse=True)[:2]
    assert best != every[:2]
    whole = complete(model, Completion(prompt=Prompt.of(TEXT), temperature=1.0, maximum_tokens=8, n=2, best_of=6))
    assert whole.prompt_tokens == 6 * len(model.tokenizer.ids(TEXT))


def test_log_probabilities_are_the_models_own(model: CausalModel) -> None:
    plain = one(model, maximum_tokens=6, log_probs=3, tokens=True)
    assert plain.log_probs is not None
    assert plain.tokens is not None
    ids = model.tokenizer.ids(TEXT)
    for label, position in zip(plain.tokens, plain.log_probs, strict=True):
        logits = torch.log_softmax(model.logits(np.array(ids), None, keep=1)[0, 0].double(), -1)
        top = logits.topk(3)
        expected = {model.texts.label(int(id)): float(value) for value, id in zip(*top, strict=True)}
        assert position == pytest.approx(expected, abs=1e-4)
        assert label == next(iter(expected))
        ids.append(int(top.indices[0]))
    biased = one(model, maximum_tokens=1, log_probs=1, logit_bias={9: 100.0}, tokens=True)
    assert biased.log_probs is not None
    assert biased.log_probs[0] == pytest.approx(
        {
            plain.tokens[0]: plain.log_probs[0][plain.tokens[0]],
            model.texts.label(9): float(
                torch.log_softmax(model.logits(np.array(model.tokenizer.ids(TEXT)), None, keep=1)[0, 0], -1)[9]
            ),
        },
        abs=1e-4,
    )
    assert one(model, maximum_tokens=1).log_probs is None


def test_echo_puts_the_prompt_first(model: CausalModel) -> None:
    prompt = Prompt(items=(TextItem(text="Andreas likes"), TokenIdsItem(ids=tuple(model.tokenizer.ids(" pizza")))))
    request = Completion(prompt=prompt, maximum_tokens=3, echo=True, log_probs=0, tokens=True, raw_completion=True)
    [echoed] = complete(model, request).completions
    plain = one(model, "Andreas likes pizza", maximum_tokens=3)
    assert echoed.completion == "Andreas likes pizza" + plain.completion
    assert echoed.raw_completion == plain.completion
    own = model.tokenizer.ids("Andreas likes") + model.tokenizer.ids(" pizza")
    assert echoed.tokens is not None
    assert echoed.log_probs is not None
    assert len(echoed.tokens) == len(echoed.log_probs) == len(own) + 3
    assert echoed.tokens[: len(own)] == tuple(model.texts.label(id) for id in own)
    assert echoed.log_probs[0] == {echoed.tokens[0]: None}
    first = Prompt(items=(TokenIdsItem(ids=tuple(own[:1])),))
    rest = sum(value for position in echoed.log_probs[1 : len(own)] for value in position.values() if value)
    expected = evaluate(model, first, "Andreas likes pizza"[len(model.texts.label(own[0])) :]).log_probability
    assert rest == pytest.approx(expected, abs=1e-4)


def test_special_tokens_stand_before_the_prompt_alone(tmp_path: Path, model: CausalModel) -> None:
    """A tokenizer that marks both ends of a text: the completion goes on behind the text, not behind its end mark."""
    marked = load_causal(save_tiny_causal(tmp_path / "m", around=True), device=torch.device("cpu"))
    ids = model.tokenizer.ids(TEXT)
    assert marked.read(Prompt.of(TEXT), ControlOptions()).ids.tolist() == [0, *ids]
    assert marked.read(Prompt.of(""), ControlOptions()).ids.tolist() == [0]
    echoed = one(marked, maximum_tokens=0, echo=True, log_probs=0, tokens=True)
    assert echoed.log_probs is not None
    assert len(echoed.log_probs) == len(ids)
    total = sum(value for position in echoed.log_probs for value in position.values() if value)
    assert total == pytest.approx(evaluate(marked, Prompt.of(""), TEXT).log_probability, abs=1e-4)


def test_nothing_to_generate_gives_the_prompts_log_probabilities(model: CausalModel) -> None:
    found = one(model, maximum_tokens=0, echo=True, log_probs=0)
    assert found.completion == TEXT
    assert found.log_probs is not None
    assert len(found.log_probs) == len(model.tokenizer.ids(TEXT))
    assert found.finish_reason is FinishReason.MAXIMUM_TOKENS


def test_an_empty_prompt_is_completed_from_nothing(model: CausalModel) -> None:
    found = one(model, "", maximum_tokens=4, echo=True, log_probs=0, tokens=True)
    assert found.tokens is not None
    assert len(found.tokens) == 4
    assert found.completion


def test_stop_sequences_are_found_across_tokens_and_cut_off(model: CausalModel) -> None:
    """Every stretch of the unstopped completion is tried as a stop sequence."""
    whole = one(model, maximum_tokens=16, minimum_tokens=16, tokens=True, log_probs=0).completion
    clean = [i for i in range(len(whole)) if "\ufffd" not in whole[i : i + 3]]
    tried = 0
    for start in clean:
        stop = whole[start : start + 3]
        if len(stop) < 3:
            continue
        tried += 1
        found = one(
            model, maximum_tokens=16, minimum_tokens=16, stop_sequences=("never", stop), tokens=True, log_probs=0,
            raw_completion=True,
        )  # fmt: skip
        assert found.finish_reason is FinishReason.STOP_SEQUENCE
        assert found.completion == whole[: whole.index(stop)]
        assert found.raw_completion is not None
        assert found.raw_completion.startswith(found.completion + stop)
        assert found.tokens is not None
        assert found.log_probs is not None
        assert len(found.tokens) == len(found.log_probs)
        length = len(model.texts.after(model.tokenizer.ids(TEXT), ids_of(found, model)))
        assert length >= len(found.completion)
    assert tried >= 3


def test_an_option_is_generated_and_nothing_else(model: CausalModel) -> None:
    options = (" pizza", " lake", " lake and house")
    for seed in range(6):
        found = one(model, bias_inclusion=options, temperature=1.0, seed=seed, maximum_tokens=30)
        assert found.completion in options
        assert found.finish_reason is FinishReason.END_OF_TEXT
    scores = {option: evaluate(model, Prompt.of(TEXT), option).log_probability for option in (" pizza", " lake")}
    first = {option: model.tokenizer.ids(option)[0] for option in scores}
    logits = model.logits(np.array(model.tokenizer.ids(TEXT)), None, keep=1)[0, 0]
    likelier = max(first, key=lambda option: float(logits[first[option]]))
    assert one(model, bias_inclusion=(" pizza", " lake"), maximum_tokens=30).completion == likelier


def test_inclusion_of_the_first_token_alone_leaves_the_rest_free(model: CausalModel) -> None:
    found = one(
        model, bias_inclusion=(" pizza",), bias_inclusion_first_token_only=True, maximum_tokens=9, minimum_tokens=9,
        tokens=True,
    )  # fmt: skip
    assert ids_of(found, model)[0] == model.tokenizer.ids(" pizza")[0]
    assert len(found.tokens or ()) == 9


def test_excluded_texts_are_never_written_however_they_are_cut(model: CausalModel) -> None:
    whole = one(model, maximum_tokens=16, minimum_tokens=16).completion
    for start in range(len(whole) - 2):
        text = whole[start : start + 2]
        if "\ufffd" in text:
            continue
        found = one(model, maximum_tokens=16, minimum_tokens=16, bias_exclusion=(text,)).completion
        assert text not in found
        assert found.startswith(whole[: max(0, whole.index(text) - 3)])  # and all is as before until there


def test_exclusion_of_the_first_token_holds_for_the_first_alone(model: CausalModel) -> None:
    plain = one(model, maximum_tokens=1, tokens=True)
    [first] = ids_of(plain, model)
    text = model.tokenizer.text([first])
    found = one(model, maximum_tokens=1, tokens=True, bias_exclusion=(text,), bias_exclusion_first_token_only=True)
    if model.tokenizer.ids(text) == [first]:
        assert ids_of(found, model) != [first]
    repeated = one(
        model, maximum_tokens=3, tokens=True, bias_exclusion=(" pizza",), bias_exclusion_first_token_only=True,
        logit_bias={model.tokenizer.ids(" pizza")[0]: 1000.0},
    )  # fmt: skip
    found_ids = ids_of(repeated, model)
    assert found_ids[0] != model.tokenizer.ids(" pizza")[0]
    assert found_ids[1:] == [model.tokenizer.ids(" pizza")[0]] * 2


def test_a_token_without_a_text_is_never_taken(tmp_path: Path) -> None:
    """Networks have more logits than there are tokens; those must not be generated."""
    model = load_causal(save_tiny_causal(tmp_path / "m", spare_ids=4000), device=torch.device("cpu"))
    found = one(model, temperature=2.0, seed=0, maximum_tokens=60, minimum_tokens=60, tokens=True)
    assert len(found.tokens or ()) == 60
    assert evaluate(model, Prompt.of(TEXT), " pizza").completion is not None


def test_flags_without_an_effect_are_taken(model: CausalModel) -> None:
    assert one(model, maximum_tokens=5, disable_optimizations=True) == one(model, maximum_tokens=5)


def test_a_length_of_none_fills_the_model(model: CausalModel) -> None:
    found = one(model, maximum_tokens=None, logit_bias={0: -1000.0}, tokens=True)
    assert len(found.tokens or ()) == 128 - len(model.tokenizer.ids(TEXT))


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"maximum_tokens": -1}, "maximum_tokens"),
        ({"maximum_tokens": 128}, "maximum_tokens"),
        ({"minimum_tokens": 65}, "minimum_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 1.1}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 101}, "n"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"log_probs": -1}, "log_probs"),
        ({"stop_sequences": ("",)}, "stop_sequences"),
        ({"presence_penalty": Penalty(value=float("inf"))}, "presence_penalty"),
        ({"presence_penalty": Penalty(value=-2e9)}, "presence_penalty"),
        ({"sequence_penalty": Penalty(value=1e308)}, "sequence_penalty"),
        ({"frequency_penalty": Penalty(value=-1.0, multiplicative=True)}, "frequency_penalty"),
        ({"sequence_penalty_min_length": 1}, "sequence_penalty_min_length"),
        ({"logit_bias": {5000: 1.0}}, "logit_bias"),
        ({"logit_bias": {-1: 1.0}}, "logit_bias"),
        ({"logit_bias": {3: float("nan")}}, "logit_bias"),
        ({"logit_bias": {3: 1e308}}, "logit_bias"),
        ({"bias_inclusion": ("yes",), "bias_exclusion": ("y",)}, "completion_bias_exclusion"),
        ({"bias_inclusion": ("",)}, "completion_bias_inclusion"),
    ],
)
def test_bad_requests_name_the_field(model: CausalModel, arguments: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        one(model, **arguments)
    assert raised.value.param == param


def test_it_ends_at_the_token_after_which_nobody_waits(tmp_path: Path) -> None:
    model, answer, told = load_causal(save_tiny_causal(tmp_path / "m"), device=torch.device("cpu")), Awaited(), [0]

    def leave(_: RanBatch) -> None:
        told[0] += 1
        if told[0] == 4:
            answer.give_up()

    model.observe(leave)
    with awaited(answer), pytest.raises(Abandoned):
        one(model, maximum_tokens=60, minimum_tokens=60)
    assert told == [4]
