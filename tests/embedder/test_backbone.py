"""The two ways to run a network agree, steered or not, in every precision, and each keeps what the probe promises."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from transformers import ModernBertConfig, ModernBertModel, PreTrainedModel, Qwen3Config, Qwen3Model

from core.errors import ModelError
from core.records import Int64Array
from embedder import batching, bert
from embedder.backbone import Backbone, KeyFactors
from embedder.bert import BertBackbone, load_bert
from embedder.compiled import cpu_precision
from embedder.generic import GenericBackbone, load_generic
from embedder.kinds import DEFAULT_MODEL, model_folder
from embedder.loading import load_backbone, load_encoder
from embedder.modelfolder import read_model_folder
from embedder.precision import Precision
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
def test_what_a_tiny_text_is_batched_with_does_not_matter(both: tuple[Backbone, Backbone], log_additive: bool) -> None:
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


@pytest.mark.parametrize("log_additive", [None, True, False])
def test_the_states_of_all_layers_are_those_of_transformers(
    both: tuple[Backbone, Backbone], log_additive: bool | None
) -> None:
    own, generic = both
    steered = None if log_additive is None else factors(2, log_additive=log_additive)
    assert isinstance(generic, GenericBackbone)
    states = own.layers(TEXTS, steered)
    assert len(states) == SIZES["num_hidden_layers"] + 1  # type: ignore[operator]
    for mine, theirs in zip(states, generic.layers(TEXTS, steered), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)
    assert torch.allclose(states[-1], own.hidden(TEXTS, steered), atol=1e-6)
    if steered is None:
        start = 0
        for text in TEXTS:
            stock = generic._model(input_ids=torch.from_numpy(text)[None], output_hidden_states=True).hidden_states
            for mine, theirs in zip(states, stock, strict=True):
                assert torch.allclose(mine[start : start + len(text)], theirs[0], atol=1e-5)
            start += len(text)


AVAILABLE = sorted({Precision.FP32, Precision.INT8, cpu_precision(Precision.AUTO)})
LENGTHS = (3, 150, 40, 7, 7, 90, 30, 11)


@pytest.fixture(scope="module", params=AVAILABLE)
def real(request: pytest.FixtureRequest) -> Backbone:
    """The default model: enough tokens and layers for rounding to show, and for a batch to be cut into parts."""
    return load_backbone(read_model_folder(model_folder(DEFAULT_MODEL)), CPU, request.param)[0]


@pytest.fixture(scope="module")
def exact() -> Backbone:
    return load_generic(read_model_folder(model_folder(DEFAULT_MODEL)).transformer, CPU)[0]


def real_texts() -> list[Int64Array]:
    chosen = np.random.default_rng(11)
    return [chosen.integers(1000, 20000, length) for length in LENGTHS]


def means(hidden: Tensor) -> Tensor:
    return torch.stack([part.mean(dim=0) for part in torch.split(hidden, list(LENGTHS))])


@pytest.mark.parametrize("log_additive", [None, True, False])
def test_neighbours_order_and_parts_of_a_batch_do_not_matter(
    real: Backbone, exact: Backbone, log_additive: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text alone, among others, steered or not, and in another order: one vector, and that of transformers."""
    monkeypatch.setattr(bert, "SPLIT_TOKENS", 1)  # cut, on any number of threads
    monkeypatch.setattr(bert, "IDLE_LIMIT", 4.0)
    texts = real_texts()
    tokens = torch.split(torch.arange(sum(LENGTHS)), list(LENGTHS))
    values = torch.ones(sum(LENGTHS))
    if log_additive is not None:
        values[tokens[1][5:9]] = 4.0
        values[tokens[5][3]] = 0.0

    def keys(texts: list[int]) -> KeyFactors | None:
        chosen = torch.cat([values[tokens[i]] for i in texts])
        return None if log_additive is None else KeyFactors(values=chosen, log_additive=log_additive)

    every = list(range(len(texts)))
    together = real.hidden(texts, keys(every))
    alone = torch.cat([real.hidden([texts[i]], keys([i])) for i in every])
    order = [5, 2, 7, 0, 3, 6, 1, 4]
    shuffled = torch.split(real.hidden([texts[i] for i in order], keys(order)), [LENGTHS[i] for i in order])
    back = torch.cat([shuffled[order.index(i)] for i in every])
    reference = exact.hidden(texts, keys(every))
    for found in (together, back):
        if real.precision is Precision.FP32:
            assert torch.allclose(found, alone, atol=1e-5)
            assert torch.allclose(found, reference, atol=1e-4)
        assert cosine_similarity(means(found), means(alone)).min() >= 0.9999
    least = {Precision.FP32: 0.999999, Precision.BF16: 0.9995, Precision.INT8: 0.98}[real.precision]
    if log_additive is False and real.precision is not Precision.FP32:
        least -= 0.01  # a factor of 4 on the scores themselves multiplies their rounding, too
    assert cosine_similarity(means(together), means(reference)).min() >= least


def test_a_batch_is_cut_into_parts_of_like_size_or_not_at_all() -> None:
    lengths = np.array([100, 90, 60, 60, 40, 30, 10, 10])
    parts = bert._shares(lengths, 2)
    assert sorted(i for part in parts for i in part) == list(range(8))
    assert [int(lengths[part].sum()) for part in parts] == [200, 200]
    assert bert._shares(np.array([200, 100]), 2) == [[0, 1]]
    assert bert._shares(np.array([50]), 4) == [[0]]
    assert bert._shares(lengths, 1) == [list(range(8))]


def test_batches_are_of_few_sizes() -> None:
    """OpenVINO keeps kernels for each; a size that is never seen again costs memory for nothing."""
    sizes = [batching.rounded_up(count) for count in range(1, 16_385)]
    assert sizes[:31] == list(range(1, 32))
    assert all(count <= size <= count * 17 / 16 for count, size in enumerate(sizes, start=1))
    assert len(set(sizes)) <= 32 + 16 * 9


@pytest.mark.parametrize("log_additive", [None, True, False])
def test_texts_of_any_length_together(both: tuple[Backbone, Backbone], log_additive: bool | None) -> None:
    """Also where spare tokens and slots fill the batch up."""
    own, generic = both
    chosen = np.random.default_rng(7)
    for lengths in ([33], [19, 17], [12, 35, 3], [7] * 9, [38, 1, 1]):
        texts = [chosen.integers(4, 39, length) for length in lengths]
        factors = None
        if log_additive is not None:
            values = torch.from_numpy(chosen.choice([0.1, 1.0, 4.0], size=sum(lengths)).astype(np.float32))
            factors = KeyFactors(values=values, log_additive=log_additive)
        for ours, theirs in zip(own.layers(texts, factors), generic.layers(texts, factors), strict=True):
            assert ours.shape == (sum(lengths), 16)
            assert torch.allclose(ours, theirs, atol=1e-4)


def test_a_precision_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="precision 'fp8' is unknown: allowed are auto, fp32, bf16, int8"):
        load_encoder(precision="fp8")
    with pytest.raises(ModelError, match="int8 is for BERT and RoBERTa networks on the CPU"):
        load_generic(save_tiny_model(tmp_path / "m", "mpnet"), CPU, Precision.INT8)
    if Precision.BF16 not in AVAILABLE:
        with pytest.raises(ModelError, match="this CPU does not compute in bf16"):
            load_bert(save_tiny_model(tmp_path / "b"), CPU, Precision.BF16)


def test_transformers_in_bf16_stays_close(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", "mpnet")
    low, high = (load_generic(folder, CPU, precision)[0] for precision in (Precision.BF16, Precision.AUTO))
    assert high.precision is Precision.FP32
    found, expected = low.hidden(TEXTS), high.hidden(TEXTS)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    assert cosine_similarity(found, expected).min() >= 0.999


def test_the_fingerprint_names_a_precision_that_changes_vectors(tmp_path: Path) -> None:
    folder = str(save_tiny_model(tmp_path / "m"))
    exact, quantised = (load_encoder(folder, device="cpu", precision=name) for name in ("fp32", "int8"))
    assert exact.fingerprint != quantised.fingerprint
    assert exact.space == quantised.space
    assert load_encoder(folder, device="cpu").precision in (Precision.FP32, Precision.BF16)
