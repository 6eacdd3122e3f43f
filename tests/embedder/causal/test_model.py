"""Loading, reading prompts, and steering: against the same network of transformers, run by hand."""

import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from core.errors import InvalidControl, InvalidInput, ModelError
from core.prompts import (
    ControlOptions,
    ControlTarget,
    ImageItem,
    Prompt,
    TextControl,
    TextItem,
    TokenControl,
    TokenIdsItem,
)
from core.protocols import Priority
from embedder.causal.evaluate import evaluate
from embedder.causal.model import CausalModel, load_causal
from embedder.scheduling import Waiter
from tests.embedder.causal.tiny import save_tiny_causal
from tests.waiting import until

CPU = torch.device("cpu")
META = {"format": "pt"}  # without it transformers reads no file
OPTIONS = ControlOptions()
TEXT = "Andreas likes the red house by the lake."


def test_a_loaded_model_says_what_it_is(folder: Path, any_model: CausalModel) -> None:
    assert (any_model.name, any_model.max_tokens, any_model.attention_problem) == (folder.name, 128, "")
    assert any_model.end_ids == {0}
    assert len(any_model.fingerprint) == 32
    assert load_causal(folder, name="other", device=CPU).fingerprint == any_model.fingerprint
    assert load_causal(folder, name="other", device=CPU).name == "other"


def test_other_weights_have_another_fingerprint(tmp_path: Path, model: CausalModel) -> None:
    assert load_causal(save_tiny_causal(tmp_path / "gpt2", seed=8), device=CPU).fingerprint != model.fingerprint


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no weights"):
        load_causal(tmp_path, device=CPU)
    folder = save_tiny_causal(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        load_causal(folder, device=CPU)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_weights_that_transformers_would_make_up_are_refused(tmp_path: Path, kind: str) -> None:
    folder = save_tiny_causal(tmp_path / "m", kind)
    weights = load_file(folder / "model.safetensors")
    lost = max(name for name in weights if ".1." in name)
    save_file({name: value for name, value in weights.items() if name != lost}, folder / "model.safetensors", META)
    with pytest.raises(ModelError, match=rf"the weights lack '{re.escape(lost)}': they hold no trained language model"):
        load_causal(folder, device=CPU)


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    folder = save_tiny_causal(tmp_path / "m", "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 50}))
    with pytest.raises(ModelError, match=r"do not fit the config\.json: '.*mlp.*' is \(32, 48\), not \(32, 50\)"):
        load_causal(folder, device=CPU)


def test_items_are_read_one_behind_the_other(model: CausalModel) -> None:
    ids = model.tokenizer.ids
    prompt = Prompt(items=(TextItem(text="Andreas"), TokenIdsItem(ids=(5, 6)), TextItem(text=" likes")))
    read = model.read(prompt, OPTIONS)
    assert read.ids.tolist() == [*ids("Andreas"), 5, 6, *ids(" likes")]
    assert sorted(set(read.items.tolist())) == [0, 1, 2]
    assert read.factors is None


def test_an_empty_prompt_becomes_the_token_that_starts_a_text(model: CausalModel) -> None:
    assert model.read(Prompt.of(""), OPTIONS).ids.tolist() == [0]


@pytest.mark.parametrize(
    ("prompt", "match"),
    [
        (Prompt(items=(ImageItem(data=b"x"),)), "image"),
        (Prompt(items=(TokenIdsItem(ids=(5, 4000)),)), "4000"),
        (Prompt(items=(TokenIdsItem(ids=(5,) * 129),)), "more than the 128 tokens that model gpt2 reads"),
    ],
)
def test_what_cannot_be_read_is_refused(model: CausalModel, prompt: Prompt, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        model.read(prompt, OPTIONS)


def test_a_control_needs_an_attention_to_act_on(model: CausalModel) -> None:
    prompt = Prompt.of(TEXT, (TextControl(start=0, length=7, factor=0.5),))
    with pytest.raises(InvalidControl, match="no pool") as raised:
        model.read(prompt, ControlOptions(target=ControlTarget.POOL))
    assert raised.value.param == "control_target"


def test_evaluation_is_the_cross_entropy_of_the_stock_network(folder: Path, any_model: CausalModel) -> None:
    prompt, expected = "Andreas likes", " pizza every day, 一个苹果。"
    ids, target = any_model.tokenizer.ids(prompt), any_model.tokenizer.ids(expected)
    stock = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits = stock(torch.tensor([ids + target])).logits[0, len(ids) - 1 : -1]
    loss = float(cross_entropy(logits, torch.tensor(target), reduction="sum"))
    found = evaluate(any_model, Prompt.of(prompt), expected)
    assert found.log_perplexity == pytest.approx(loss, rel=1e-5)
    assert found.log_probability == -found.log_perplexity
    assert found.log_perplexity_per_token == pytest.approx(loss / len(target), rel=1e-5)
    assert found.log_perplexity_per_character == pytest.approx(loss / len(expected), rel=1e-5)
    assert (found.token_count, found.character_count) == (len(target), len(expected))
    assert found.completion == any_model.texts.after(ids, logits.argmax(dim=-1).tolist())
    assert not found.correct_greedy
    assert found.prompt_tokens == len(ids)


def test_the_greedy_continuation_is_found_correct(model: CausalModel) -> None:
    prompt = Prompt.of("The red house")
    likeliest = int(model.logits(model.read(prompt, OPTIONS).ids, None, keep=1)[0, 0].argmax())
    expected = model.tokenizer.text([likeliest])
    if model.tokenizer.ids(expected) == [likeliest]:
        assert evaluate(model, prompt, expected).correct_greedy
    probability = float(torch.softmax(model.logits(model.read(prompt, OPTIONS).ids, None, keep=1)[0, 0], 0)[likeliest])
    assert 0 < probability < 1


@pytest.mark.parametrize("expected", ["", "word " * 100])
def test_an_evaluation_needs_something_that_fits(model: CausalModel, expected: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        evaluate(model, Prompt.of(TEXT), expected)
    assert raised.value.param == "completion_expected"


def test_a_factor_is_added_to_the_attention_as_its_logarithm(folder: Path, any_model: CausalModel) -> None:
    """The oracle adds log f to the stock network's own mask."""
    ids = any_model.tokenizer.ids(TEXT)
    factors = np.ones(len(ids), dtype=np.float32)
    factors[[1, 3]] = [0.1, 4.0]
    found = any_model.logits(np.array(ids), factors[None], keep=len(ids))[0]
    positions = torch.arange(len(ids))
    distance = positions[:, None] - positions[None, :]
    window = 6 if folder.name == "mistral" else len(ids)
    mask = torch.where((distance >= 0) & (distance < window), torch.from_numpy(factors).log()[None, :], -1e9)
    stock = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.inference_mode():
        expected = stock(torch.tensor([ids]), attention_mask=mask[None, None]).logits[0]
        idle = stock(torch.tensor([ids])).logits[0]
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found, idle, atol=1e-2)


@pytest.mark.parametrize("log_additive", [True, False])
def test_a_factor_of_one_is_the_identity(any_model: CausalModel, log_additive: bool) -> None:
    ids = np.array(any_model.tokenizer.ids(TEXT))
    ones = np.ones((1, len(ids)), dtype=np.float32)
    steered = any_model.logits(ids, ones, keep=len(ids), log_additive=log_additive)
    assert torch.allclose(steered, any_model.logits(ids, None, keep=len(ids)), atol=1e-4)


def test_similar_tokens_are_steered_along(model: CausalModel) -> None:
    """The other "lake" follows, by the same token; without a threshold it does not."""
    prompt = Prompt.of("lake lake lake", (TextControl(start=5, length=4, factor=0.1),))
    idle, contextual = (
        model.read(prompt, ControlOptions(contextual_threshold=threshold)).factors for threshold in (None, 0.999)
    )
    assert idle is not None
    assert contextual is not None
    ids = np.array(model.tokenizer.ids("lake lake lake"))
    controlled = np.flatnonzero(idle != 1)
    assert np.allclose(idle[controlled], 0.1)
    assert np.allclose(contextual[np.isin(ids, ids[controlled])], 0.1)
    assert (contextual[~np.isin(ids, ids[controlled])] == 1).all()
    assert (contextual != 1).sum() > len(controlled)


def test_who_asked_nicely_is_served_last(model: CausalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody has the turn, a nice caller comes first and an urgent one after it."""
    monkeypatch.setattr("embedder.scheduling.PATIENCE_SECONDS", 120.0)  # on a busy machine a second passes quickly
    served: list[Priority] = []
    place = model._queue._scheduler
    begin = place.begin

    def noted(own: Waiter) -> bool:
        served.append(own.priority)
        return begin(own)

    def ask(priority: Priority) -> None:
        evaluate(model, Prompt.of(TEXT), " pizza", priority=priority)

    threads = [threading.Thread(target=ask, args=(p,)) for p in (Priority.NICE, Priority.INTERACTIVE)]
    with model._queue.turn(Priority.INTERACTIVE, texts=1, tokens=1):
        monkeypatch.setattr(place, "begin", noted)
        for waiting, thread in enumerate(threads, start=1):
            thread.start()
            until(lambda waiting=waiting: sum(model.waiting().values()) > waiting)  # type: ignore[misc]
    for thread in threads:
        thread.join(60)
    assert served == [Priority.INTERACTIVE, Priority.NICE]


def test_token_controls_act_on_their_token(model: CausalModel) -> None:
    prompt = Prompt(items=(TokenIdsItem(ids=(9, 8, 7), controls=(TokenControl(index=1, factor=0.0),)),))
    factors = model.read(prompt, OPTIONS).factors
    assert factors is not None
    assert factors.tolist() == [1, 0, 1]
    other = Prompt(items=(TokenIdsItem(ids=(9, 5, 7), controls=(TokenControl(index=1, factor=0.0),)),))
    first, second = (evaluate(model, p, " pizza").log_probability for p in (prompt, other))
    assert first == pytest.approx(second, abs=1e-4)  # what is suppressed fully cannot be told apart
    idle = [evaluate(model, Prompt(items=(TokenIdsItem(ids=ids),)), " pizza") for ids in ((9, 8, 7), (9, 5, 7))]
    assert abs(idle[0].log_probability - idle[1].log_probability) > 1e-2
