"""What a sentence-transformers (or plain Hugging Face) model folder says about its model.

The folder is read here, not by the sentence_transformers package: importing that costs 5 to 8 seconds against 3 for
transformers alone, and a command line pays it at every call. Tests hold the two to the same vectors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.errors import ModelError
from core.records import Representation


class Pooling(StrEnum):
    """How the token vectors of the last layer become one vector."""

    MEAN = "mean"
    CLS = "cls"
    LAST_TOKEN = "lasttoken"


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseConfig:
    """A linear layer behind the pooling."""

    folder: Path
    in_features: int
    out_features: int
    bias: bool
    activation: str  # dotted name of a torch module without arguments, such as torch.nn.modules.activation.Tanh


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFolder:
    """Everything but the weights."""

    name: str
    transformer: Path  # folder of config.json, weights and tokenizer
    pooling: Pooling
    pool_prefix: bool  # whether the tokens of the representation's prefix take part in the pool
    dense: tuple[DenseConfig, ...]
    max_tokens: int | None  # None: what the tokenizer or the model's positions allow
    lowercase: bool
    prefixes: Mapping[Representation, str]


def read_model_folder(folder: Path) -> ModelFolder:
    """Raises ModelError that names the file and what is wrong with it."""
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder; give a sentence-transformers or Hugging Face model folder")
    modules = _modules(folder)
    transformer = folder / modules[0]["path"]
    if not (transformer / "config.json").is_file():
        raise ModelError(f"{transformer} has no config.json: it is not a model folder")
    if not (transformer / "tokenizer.json").is_file():
        raise ModelError(
            f"{transformer} has no tokenizer.json; save the model with its fast tokenizer "
            "(AutoTokenizer.from_pretrained(...).save_pretrained(folder))"
        )
    pooling, pool_prefix, dense = Pooling.MEAN, True, []
    for module in modules[1:]:
        path = folder / module["path"]
        match module["type"].rsplit(".", 1)[-1]:
            case "Pooling":
                pooling, pool_prefix = _pooling(path)
            case "Dense":
                dense.append(_dense(path))
            case "Normalize":
                pass  # vectors are always brought to unit length
            case other:
                raise ModelError(
                    f"{folder / 'modules.json'}: module {other} is not supported; "
                    "supported are Transformer, Pooling, Dense and Normalize"
                )
    settings = json_object(transformer / "sentence_bert_config.json")
    max_tokens = settings.get("max_seq_length")
    if max_tokens is not None and (not isinstance(max_tokens, int) or max_tokens < 1):
        raise ModelError(f"{transformer / 'sentence_bert_config.json'}: max_seq_length must be a number above 0")
    return ModelFolder(
        name=folder.resolve().name,
        transformer=transformer,
        pooling=pooling,
        pool_prefix=pool_prefix,
        dense=tuple(dense),
        max_tokens=max_tokens,
        lowercase=bool(settings.get("do_lower_case", False)),
        prefixes=_prefixes(folder / "config_sentence_transformers.json"),
    )


def weights_sha256(folder: Path) -> str:
    """sha256 (hex) over the weight files of a folder, in the order of their names. Raises ModelError without any."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise ModelError(f"{folder} has no weights (*.safetensors or pytorch_model*.bin)")
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def json_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file of a model folder, {} where there is no such file. Raises ModelError."""
    value = _read_json(file) if file.is_file() else {}
    if not isinstance(value, dict):
        raise ModelError(f"{file} must hold a JSON object")
    return value


def _modules(folder: Path) -> list[dict[str, str]]:
    file = folder / "modules.json"
    if not file.is_file():
        return [{"path": "", "type": "Transformer"}]
    modules = _read_json(file)
    if not isinstance(modules, list) or not all(
        isinstance(module, dict) and isinstance(module.get("path"), str) and isinstance(module.get("type"), str)
        for module in modules
    ):
        raise ModelError(f"{file}: must be a list of modules, each with a path and a type")
    if not modules or not modules[0]["type"].endswith("Transformer"):
        raise ModelError(f"{file}: the first module must be a Transformer")
    return modules


def _pooling(folder: Path) -> tuple[Pooling, bool]:
    config = json_object(folder / "config.json")
    mode = config.get("pooling_mode") or next(
        (
            key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
            for key, value in config.items()
            if key.startswith("pooling_mode_") and value
        ),
        "mean",
    )
    aliases = {"mean": Pooling.MEAN, "cls": Pooling.CLS, "last": Pooling.LAST_TOKEN, "lasttoken": Pooling.LAST_TOKEN}
    chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    if mode not in aliases or len(chosen) > 1:
        raise ModelError(
            f"{folder / 'config.json'}: pooling {', '.join(chosen) or mode} is not supported; "
            "supported is one of mean, cls, lasttoken"
        )
    return aliases[mode], bool(config.get("include_prompt", True))


def _dense(folder: Path) -> DenseConfig:
    config = json_object(folder / "config.json")
    try:
        return DenseConfig(
            folder=folder,
            in_features=int(config["in_features"]),
            out_features=int(config["out_features"]),
            bias=bool(config.get("bias", True)),
            activation=str(config.get("activation_function", "torch.nn.modules.linear.Identity")),
        )
    except KeyError as missing:
        raise ModelError(f"{folder / 'config.json'}: {missing} is missing") from missing
    except (TypeError, ValueError) as error:
        raise ModelError(f"{folder / 'config.json'}: {error}") from error


def _prefixes(file: Path) -> dict[Representation, str]:
    config = json_object(file)
    named = config.get("prompts") or {}
    if not isinstance(named, dict):
        raise ModelError(f"{file}: prompts must be an object of texts by name")
    prompts = {str(name).lower(): str(text) for name, text in named.items() if text}
    default = prompts.get(str(config.get("default_prompt_name")).lower(), "")
    names = {
        Representation.QUERY: ("query",),
        Representation.DOCUMENT: ("document", "passage", "corpus"),
        Representation.SYMMETRIC: ("symmetric", "sts", "query"),
    }
    return {
        representation: next((prompts[name] for name in candidates if name in prompts), default)
        for representation, candidates in names.items()
    }


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: {error}") from error
