"""The two ways to run a network agree, steered or not, and each is held to what the probe promises."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ModernBertConfig, ModernBertModel, PreTrainedModel, Qwen3Config, Qwen3Model

from core.errors import ModelError
from core.records import Int64Array
from embedder.backbone import Backbone, KeyFactors
from embedder.bert import BertBackbone, load_bert
from embedder.generic import GenericBackbone, load_generic
from tests.embedder.tiny import SIZES, save_tiny_model, write_json

CPU = torch.device("cpu")
TEXTS: list[Int64Array] = [
    np.array(ids, dtype=np.int64) for ids in ([2, 9, 8, 7, 6, 3], [2, 5, 3], [2, 4, 3], [2, 10, 11, 3])
]


def factors(seed: int, *, log_additive: bool) -> KeyFactors:
    values = np.random.default_rng(seed).choice([0.1, 1.0, 1.0, 4.0], size=sum(len(t) for t in TEXTS))
    return KeyFactors(values=torch.from_numpy(values.astype(np.float32)), log_additive=log_additive)


def other_networks() -> list[PreTrainedModel]:
    torch.manual_seed(3)
    modern = ModernBertConfig(**SIZES, global_attn_every_n_layers=2, local_attention=4, cls_token_id=2, sep_token_id=3)
    decoder = Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=4)
    return [ModernBertModel(modern).eval(), Qwen3Model(decoder).eval()]


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Backbone, Backbone]:
    folder = save_tiny_model(tmp_path_factory.mktemp("model") / "m", request.param)
    own = load_bert(folder, CPU)
    assert isinstance(own, BertBackbone)
    return own, load_generic(folder, CPU)[0]


def test_own_network_equals_transformers(both: tuple[Backbone, Backbone]) -> None:
    own, generic = both
    assert torch.allclose(own.hidden(TEXTS), generic.hidden(TEXTS), atol=1e-5)
    ids = np.arange(10, dtype=np.int64)
    assert np.array_equal(own.word_vectors(ids), generic.word_vectors(ids))
    assert own.width == generic.width == 16


@pytest.mark.parametrize("log_additive", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_both_are_steered_alike(both: tuple[Backbone, Backbone], seed: int, log_additive: bool) -> None:
    own, generic = both
    steered = factors(seed, log_additive=log_additive)
    found = own.hidden(TEXTS, steered)
    assert torch.allclose(found, generic.hidden(TEXTS, steered), atol=1e-5)
    assert not torch.allclose(found, own.hidden(TEXTS), atol=1e-3)


@pytest.mark.parametrize("log_additive", [True, False])
def test_what_a_text_is_batched_with_does_not_matter(both: tuple[Backbone, Backbone], log_additive: bool) -> None:
    steered = factors(1, log_additive=log_additive)
    ends = np.cumsum([len(t) for t in TEXTS])
    for backbone in both:
        together = backbone.hidden(TEXTS, steered)
        for text, end in zip(TEXTS, ends, strict=True):
            part = slice(end - len(text), end)
            alone = backbone.hidden([text], KeyFactors(values=steered.values[part], log_additive=log_additive))
            assert torch.allclose(alone, together[part], atol=1e-5)


@pytest.mark.parametrize("index", [0, 1], ids=["modernbert", "qwen3"])
def test_other_networks_are_steered_through_the_interface(index: int) -> None:
    """Windows and causal masks stay in force: an idle run equals the stock one, a suppressed token is invisible."""
    model = other_networks()[index]
    stock = [model(input_ids=torch.from_numpy(t)[None]).last_hidden_state[0] for t in TEXTS]
    backbone = GenericBackbone(model)
    assert backbone.attention_problem == ""
    assert torch.allclose(backbone.hidden(TEXTS), torch.cat(stock), atol=1e-5)
    ones = KeyFactors(values=torch.ones(sum(len(t) for t in TEXTS)), log_additive=False)
    assert torch.allclose(backbone.hidden(TEXTS, ones), torch.cat(stock), atol=1e-5)


def test_an_attention_out_of_reach_is_named_and_left_alone(tmp_path: Path) -> None:
    backbone = load_generic(save_tiny_model(tmp_path / "m", "mpnet"), CPU)[0]
    assert backbone.attention_problem == "a suppressed token still acts on the others"


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m")
    config = SIZES | {"model_type": "bert", "num_hidden_layers": 3}
    write_json(folder / "config.json", config)
    with pytest.raises(ModelError, match=r"lack 'encoder\.layer\.2\."):
        load_bert(folder, CPU)
