"""Folders of two-tower models, good and bad."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from core.errors import ModelError
from core.prompts import Prompt
from core.records import Representation
from embedder.kinds import ModelKind, model_kind
from embedder.projection import compressed
from embedder.vision.loading import load_vision
from tests.embedder.tiny import write_json
from tests.embedder.vision.tinyvision import KINDS, save_tiny_sentence_transformer, save_tiny_vision


def change(file: Path, **settings: object) -> Path:
    write_json(file, json.loads(file.read_text()) | settings)
    return file.parent


def test_the_folder_says_what_it_is(tmp_path: Path) -> None:
    for kind in KINDS:
        assert model_kind(save_tiny_vision(tmp_path / kind, kind)) is ModelKind.VISION
    assert model_kind(save_tiny_sentence_transformer(tmp_path / "st")) is ModelKind.VISION


def test_names(tmp_path: Path) -> None:
    folder = save_tiny_vision(tmp_path / "tiny-clip")
    assert load_vision(folder, device="cpu").name == "tiny-clip"
    assert load_vision(folder, name="pictures", device="cpu").name == "pictures"


def test_the_fingerprint_tells_models_apart(tmp_path: Path) -> None:
    def fingerprint(name: str, **processor: object) -> str:
        folder = save_tiny_vision(tmp_path / name)
        config = json.loads((folder / "processor_config.json").read_text())
        write_json(
            folder / "processor_config.json", config | {"image_processor": config["image_processor"] | processor}
        )
        return load_vision(folder, device="cpu").fingerprint

    one = fingerprint("a")
    assert one == fingerprint("b")
    resampled, brighter = fingerprint("c", resample=2), fingerprint("d", image_mean=[0.1, 0.1, 0.1])
    weights = save_tiny_vision(tmp_path / "e")
    tensors = load_file(weights / "model.safetensors")
    tensors["logit_scale"] = tensors["logit_scale"] + 1
    save_file(tensors, weights / "model.safetensors", metadata={"format": "pt"})
    others = {resampled, brighter, load_vision(weights, device="cpu").fingerprint}
    assert len(others | {one}) == 4


def test_prompts_of_the_folder_are_used(tmp_path: Path) -> None:
    folder = save_tiny_sentence_transformer(tmp_path / "m")
    plain = load_vision(folder, device="cpu")
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": "a photo of "}})
    encoder = load_vision(folder, device="cpu")
    prefixed = encoder.encode([Prompt.of("red car")], Representation.QUERY)
    whole = plain.encode([Prompt.of("a photo of red car")], Representation.QUERY)
    assert np.abs(prefixed.vectors - whole.vectors).max() < 1e-6
    assert encoder.overhead(Representation.QUERY) == 5
    assert encoder.overhead(Representation.DOCUMENT) == 2
    assert encoder.fingerprint != plain.fingerprint


def test_texts_of_siglip_are_lower_cased_as_in_its_training(tmp_path: Path) -> None:
    folder = save_tiny_vision(tmp_path / "m", "siglip")
    definition = json.loads((folder / "tokenizer.json").read_text())
    definition["normalizer"] = None
    write_json(folder / "tokenizer.json", definition)

    def same() -> bool:
        encoder = load_vision(folder, device="cpu")
        found = encoder.encode([Prompt.of("Red CAR"), Prompt.of("red car")], Representation.QUERY).vectors
        return bool(np.allclose(found[0], found[1], atol=1e-6))

    assert not same()
    change(folder / "tokenizer_config.json", tokenizer_class="Siglip2Tokenizer")
    assert same()


def _without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def _without_tower(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("vision_model")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def _with_module(folder: Path, module: str) -> None:
    types = ["base.modules.transformer.Transformer", f"models.{module}"]
    write_json(
        folder / "modules.json",
        [{"path": path, "type": f"sentence_transformers.{type}"} for path, type in zip(("", "1"), types, strict=True)],
    )
    dense = {"in_features": 12, "out_features": 6, "bias": True, "activation_function": "torch.nn.Tanh"}
    write_json(folder / "1" / "config.json", dense)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without("tokenizer.json"), r"has no tokenizer\.json"),
        (_without("config.json"), r"has no config\.json"),
        (_without("processor_config.json"), r"has no preprocessor_config\.json"),
        (_without("model.safetensors"), "no file named model.safetensors"),
        (_without_tower, "the weights lack 'vision_model.*both towers are needed"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 64), "header"),
        (lambda folder: change(folder / "config.json", model_type="siglip2"), "siglip2 is not supported for images"),
        (lambda folder: change(folder / "config.json", model_type="bert"), "bert is not supported for images"),
        (
            lambda folder: change(folder / "config.json", projection_dim=5),
            "do not fit the config.json: .*text_projection",
        ),
        (lambda folder: _with_module(folder, "Dense"), "Dense layer behind two towers"),
        (lambda folder: _with_module(folder, "LSTM"), "module LSTM is not supported"),
    ],
)
def test_a_broken_folder_is_named(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    folder = save_tiny_vision(tmp_path / "m")
    damage(folder)
    with pytest.raises(ModelError, match=message):
        load_vision(folder, device="cpu")


def test_an_image_tower_without_its_head_and_two_spaces_are_refused(tmp_path: Path) -> None:
    folder = save_tiny_vision(tmp_path / "m", "siglip")
    config = json.loads((folder / "config.json").read_text())
    change(folder / "config.json", vision_config=config["vision_config"] | {"vision_use_head": False})
    with pytest.raises(ModelError, match="without its pooling head"):
        load_vision(folder, device="cpu")


def test_a_pretrained_cut_to_fewer_dimensions(tmp_path: Path) -> None:
    folder = change(save_tiny_vision(tmp_path / "m") / "config.json", matryoshka_dimensions=[6])
    whole = load_vision(folder, device="cpu")
    short = compressed(whole, 6).encode([Prompt.of("red car")], Representation.QUERY).vectors
    expected = whole.encode([Prompt.of("red car")], Representation.QUERY).vectors[:, :6]
    assert np.abs(short - expected / np.linalg.norm(expected)).max() < 1e-6
