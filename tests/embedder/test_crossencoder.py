"""Rerankers, with sentence-transformers as the oracle."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder as Oracle

from core.context import Awaited, awaited
from core.errors import Abandoned, ModelError
from core.protocols import Observable, Priority, RanBatch
from embedder.crossencoder import load_reranker
from embedder.kinds import ModelKind, model_kind
from embedder.loading import load_model
from embedder.modelqueue import ModelQueue
from embedder.scheduling import scheduler_of
from tests.embedder.classifiers import save_classifier
from tests.embedder.counted import CountedTokenizer
from tests.embedder.tiny import write_json

QUERY = "i want to play on my tv"
DOCUMENTS = ["the game console", "a red car house " * 12, "", "movie on tv", "the game console"]
IDENTITY = "torch.nn.modules.linear.Identity"


@pytest.mark.parametrize("config", ["BertConfig", "XLMRobertaConfig", "ModernBertConfig", "ElectraConfig"])
def test_scores_equal_those_of_sentence_transformers(tmp_path: Path, config: str) -> None:
    settings = {"cls_token_id": 2, "sep_token_id": 3} if config == "ModernBertConfig" else {}
    folder = save_classifier(tmp_path / "m", config, **settings)
    assert model_kind(folder) is ModelKind.RERANKER
    found = load_reranker(folder, device="cpu").rerank(QUERY, DOCUMENTS).scores
    expected = Oracle(str(folder), device="cpu").predict([(QUERY, document) for document in DOCUMENTS])
    assert np.abs(found - expected).max() < 1e-5
    assert max(found) - min(found) > 1e-3
    assert found[0] == pytest.approx(found[4], abs=1e-6)


def test_a_folder_that_sentence_transformers_saved(tmp_path: Path) -> None:
    made = Oracle(str(save_classifier(tmp_path / "plain")), device="cpu", max_length=12)
    made.save_pretrained(str(tmp_path / "m"))
    ours = load_reranker(tmp_path / "m", name="mine", device="cpu")
    expected = Oracle(str(tmp_path / "m"), device="cpu").predict([(QUERY, document) for document in DOCUMENTS])
    found = ours.rerank(QUERY, DOCUMENTS)
    assert np.abs(found.scores - expected).max() < 1e-5
    assert ours.name == "mine"
    assert ours.max_tokens == 12
    assert found.token_counts.tolist() == [12, 12, 10, 12, 12]


def test_an_identity_model_is_brought_to_0_and_1_in_the_same_order(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"sentence_transformers": {"activation_fn": IDENTITY}})
    logits = Oracle(str(folder), device="cpu").predict([(QUERY, document) for document in DOCUMENTS])
    found = load_reranker(folder, device="cpu").rerank(QUERY, DOCUMENTS).scores
    assert np.abs(found - 1 / (1 + np.exp(-logits))).max() < 1e-5


def test_a_decoder_without_padding_token_reads_one_pair_at_a_time(tmp_path: Path) -> None:
    sizes = {"num_key_value_heads": 2, "head_dim": 4}
    folder = save_classifier(tmp_path / "m", "Qwen3Config", **sizes)
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"pad_token_id": None})
    model = load_reranker(folder, device="cpu")
    together = model.rerank(QUERY, DOCUMENTS).scores
    alone = [model.rerank(QUERY, [document]).scores[0] for document in DOCUMENTS]
    assert together == pytest.approx(alone, abs=1e-6)
    assert max(together) - min(together) > 1e-3


def test_the_same_score_alone_in_a_batch_and_from_many_threads(tmp_path: Path) -> None:
    model = load_model(save_classifier(tmp_path / "m"), device="cpu")
    batch = model.rerank(QUERY, DOCUMENTS).scores.tolist()
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda document: model.rerank(QUERY, [document]).scores[0], DOCUMENTS * 4))
    assert alone == pytest.approx(batch * 4, abs=1e-5)
    nothing = model.rerank(QUERY, [])
    assert (nothing.scores.shape, nothing.token_counts.shape) == ((0,), (0,))


def test_every_batch_is_told_and_waits_for_other_models_of_the_device(tmp_path: Path) -> None:
    model, other = (
        load_reranker(save_classifier(tmp_path / "m"), device="cpu"),
        ModelQueue(scheduler_of(torch.device("cpu"))),
    )
    assert isinstance(model, Observable)
    told = list[RanBatch]()
    model.observe(told.append)
    with ThreadPoolExecutor(1) as pool:
        with other.turn(Priority.INTERACTIVE, texts=1, tokens=1):
            judged = pool.submit(model.rerank, QUERY, DOCUMENTS)
            while not model.waiting()[Priority.INTERACTIVE]:
                time.sleep(0.001)
            time.sleep(0.05)
            assert not told  # the device is taken
        found = judged.result()
    assert {batch.priority for batch in told} == {Priority.INTERACTIVE}
    assert sum(batch.texts for batch in told) == len(DOCUMENTS)
    assert sum(batch.tokens for batch in told) == found.token_counts.sum()
    assert not any(model.waiting().values())


def test_the_fingerprint_tells_rerankers_apart(tmp_path: Path) -> None:
    one = load_reranker(save_classifier(tmp_path / "a"), device="cpu")
    same = load_reranker(save_classifier(tmp_path / "b"), device="cpu")
    other = load_reranker(save_classifier(tmp_path / "c", layer_norm_eps=0.1), device="cpu")
    assert one.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sbert_ce_default_activation_function": "torch.nn.modules.activation.Tanh"}, "activation .*Tanh is not"),
        ({"num_hidden_layers": 3}, "the weights lack 'bert.encoder.layer.2"),
        ({"id2label": {"0": "no", "1": "maybe", "2": "yes"}}, "has 3 labels; a reranker has one"),
    ],
)
def test_what_is_no_reranker_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    folder = save_classifier(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | change)
    with pytest.raises(ModelError, match=message):
        load_reranker(folder, device="cpu")


def test_long_texts_are_tokenized_no_further_than_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query is read anew for every document: what is cut off must not cost as often."""
    model = load_reranker(save_classifier(tmp_path / "m"), device="cpu")
    query, documents = "play a game " * 400_000, ["the red car", "the blue house " * 10]
    count: list[int] = []
    for name in ("_whole", "_tokenizer"):
        monkeypatch.setattr(model, name, CountedTokenizer(getattr(model, name), count))
    found = model.rerank(query, documents * 50)
    assert model.max_tokens < sum(count) < len(query) / 4
    assert found.scores == pytest.approx(model.rerank("play a game " * 2_000, documents * 50).scores, abs=1e-6)


def test_it_ends_at_the_batch_after_which_nobody_waits(tmp_path: Path) -> None:
    model, answer, told = load_reranker(save_classifier(tmp_path / "m"), device="cpu"), Awaited(), list[RanBatch]()

    def leave(batch: RanBatch) -> None:
        told.append(batch)
        answer.give_up()

    model.observe(leave)
    with awaited(answer), pytest.raises(Abandoned):
        model.rerank(QUERY, DOCUMENTS * 100)
    assert len(told) == 1
    assert told[0].texts < 500
