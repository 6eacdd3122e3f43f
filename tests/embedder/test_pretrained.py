"""Folders of transformers that are damaged, or that bring code along, are refused with an error that names them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.errors import ModelError
from embedder.kinds import ModelKind
from embedder.loading import load_model
from embedder.modelfolder import token_limit
from tests.embedder.causal.tiny import save_tiny_causal
from tests.embedder.classifiers import save_classifier
from tests.embedder.tiny import save_tiny_model, write_json

Change = Callable[[Path], object]
MAKERS: dict[ModelKind, Callable[[Path], Path]] = {
    ModelKind.CAUSAL: lambda folder: save_tiny_causal(folder, "llama"),
    ModelKind.RERANKER: save_classifier,
    ModelKind.DENSE: lambda folder: save_tiny_model(folder, "mpnet"),
}


def said(file: str, **settings: object) -> Change:
    def change(folder: Path) -> None:
        write_json(folder / file, json.loads((folder / file).read_text()) | settings)

    return change


def with_bin(content: Callable[[bytes], bytes]) -> Change:
    """The weights in the older format, of which something may be left."""

    def change(folder: Path) -> None:
        file = folder / "pytorch_model.bin"
        torch.save(load_file(folder / "model.safetensors"), file)
        (folder / "model.safetensors").unlink()
        file.write_bytes(content(file.read_bytes()))

    return change


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (said("config.json", hidden_size="wide"), "hidden_size"),
        (said("config.json", num_attention_heads=0), "zero"),
        (said("config.json", quantization_config={"quant_method": "gptq", "bits": 4}), "optimum"),
        (with_bin(lambda content: b""), "EOFError"),
        (with_bin(lambda content: content[: len(content) // 2]), "zip archive|Invalid argument"),
        (with_bin(lambda content: pickle.dumps({"a": print}, protocol=2)), "Weights only"),
        (said("tokenizer_config.json", model_max_length="many"), "model_max_length must be a number above 0"),
        (said("tokenizer_config.json", model_max_length=-3), "model_max_length must be a number above 0"),
        (lambda folder: (folder / "tokenizer_config.json").write_text("{"), "tokenizer_config|Expecting"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer.json: EOF"),
    ],
)
def test_a_damaged_folder_is_named(tmp_path: Path, kind: ModelKind, damage: Change, message: str) -> None:
    folder = MAKERS[kind](tmp_path / "m")
    load_model(folder, kind=kind, device="cpu")
    damage(folder)
    with pytest.raises(ModelError, match=rf"(?s){folder}.*({message})"):
        load_model(folder, kind=kind, device="cpu")


@pytest.mark.parametrize("kind", MAKERS)
def test_code_of_a_folder_is_not_run_and_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: ModelKind
) -> None:
    monkeypatch.setattr("builtins.input", lambda *asked: "y")
    folder, ran = MAKERS[kind](tmp_path / "m"), tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    said("config.json", model_type="own", auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"})(folder)
    with pytest.raises(ModelError, match="custom code"):
        load_model(folder, kind=kind, device="cpu")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("positions", "longest", "settings", "expected"),
    [(512, 128, None, 128), (512, 128, 256, 256), (64, 128, 256, 64), (512, 10**30, None, 512), (None, 77, None, 77)],
)
def test_the_least_limit_counts(
    tmp_path: Path, positions: int | None, longest: int, settings: int | None, expected: int
) -> None:
    write_json(tmp_path / "tokenizer_config.json", {"model_max_length": longest})
    assert token_limit(tmp_path, positions, settings) == expected


@pytest.mark.parametrize("config", [{}, {"model_max_length": 10**30}, {"model_max_length": None}])
def test_a_network_without_any_limit_is_refused(tmp_path: Path, config: dict[str, object]) -> None:
    write_json(tmp_path / "tokenizer_config.json", config)
    with pytest.raises(ModelError, match="neither the model nor its tokenizer says how many tokens"):
        token_limit(tmp_path, None)
