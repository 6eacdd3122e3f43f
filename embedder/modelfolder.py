"""Reads the configuration of a sentence-transformers (or plain Hugging Face) model folder.

The sentence_transformers package is not used, because importing it takes 5 to 8 seconds against 3 for transformers
alone, at every call of the command line. Tests check that both give the same vectors.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.errors import ModelError
from core.records import Representation

_TEXT_TASK = "feature-extraction"
_POOLED = "sentence_embedding"
_SCALED_MEAN = "mean_sqrt_len"  # the mean times the square root of the length: equal to the mean once normalised
_NETWORKS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
_MATRYOSHKA_KEYS = ("matryoshka_dimensions", "matryoshka_dims")
_NOTES = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}  # in config.json
_ENDLESS = 1e18  # tokens; transformers writes 1e30 for a tokenizer without a limit
_CARD_DIMENSIONS = re.compile(r'"matryoshka_dims":\s*\[([\d,\s]+)\]')


class Pooling(StrEnum):
    """How the token vectors of the last layer become one vector."""

    MEAN = "mean"
    WEIGHTED_MEAN = "weightedmean"  # the n-th token has the weight n
    MAX = "max"  # the maximum of each component
    CLS = "cls"
    LAST_TOKEN = "lasttoken"

    @property
    def is_mean(self) -> bool:
        """Whether it is a mean, in which each token has a weight that a factor can multiply."""
        return self in (Pooling.MEAN, Pooling.WEIGHTED_MEAN)


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseConfig:
    """A linear layer after the pooling."""

    folder: Path
    in_features: int
    out_features: int
    bias: bool
    activation: str  # dotted name of a torch module without arguments, such as torch.nn.modules.activation.Tanh


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFolder:
    """The description of a model: everything in its folder but the weights."""

    name: str
    transformer: Path  # folder of config.json, weights and tokenizer
    pooling: Pooling
    pool_prefix: bool  # whether the tokens of the representation's prefix are pooled
    dense: tuple[DenseConfig, ...]
    max_tokens: int | None  # None: as many as the tokenizer and the model's positions allow
    lowercase: bool
    prefixes: Mapping[Representation, str]
    cut: int | None = None  # dimension to which the folder's settings cut the vectors (truncate_dim)
    matryoshka: tuple[int, ...] = ()  # dimensions to which the model was trained to be cut, largest first
    others: Mapping[str, Path] = field(default_factory=dict)  # folders of the modules named in `also`, by type


def read_model_folder(folder: Path, *, also: Collection[str] = (), task: str = _TEXT_TASK) -> ModelFolder:
    """Reads the description of a model folder.

    `also`: types of modules that the caller reads itself; other unknown modules are refused. `task`: the
    sentence-transformers name of the task that the network is used for. Raises ModelError that names the file and what
    is wrong with it.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder; give a sentence-transformers or Hugging Face model folder")
    modules = _modules(folder)
    transformer = folder / modules[0]["path"]
    if not (transformer / "config.json").is_file():
        raise ModelError(f"{transformer} has no config.json: it is not a model folder")
    require_tokenizer(transformer)
    pooling, pool_prefix, dense = _plain_pooling(transformer), True, []
    others: dict[str, Path] = {}
    for module in modules[1:]:
        path = folder / module["path"]
        match module["type"].rsplit(".", 1)[-1]:
            case "Pooling":
                pooling, pool_prefix = _pooling(path, alone=len(modules) == 2 or _all_normalize(modules[2:]))
            case "Dense":
                dense.append(_dense(path))
            case "Normalize" | "Dropout":
                pass  # vectors are always scaled to unit length, and dropout acts in training only
            case other if other in also:
                others[other] = path
            case other:
                raise ModelError(
                    f"{folder / 'modules.json'}: module {other} is not supported; "
                    "supported are Transformer, Pooling, Dense, Normalize and Dropout"
                )
    file = _settings_file(transformer)
    settings = json_object(file)
    max_tokens = settings.get("max_seq_length")
    if max_tokens is not None and (not isinstance(max_tokens, int) or max_tokens < 1):
        raise ModelError(f"{file}: max_seq_length must be a number above 0")
    found = settings.get("transformer_task", task)
    if found != task and not also:
        raise ModelError(f"{file}: transformer_task {found} is not supported here; supported is {task}")
    config = folder / "config_sentence_transformers.json"
    return ModelFolder(
        name=folder.resolve().name,
        transformer=transformer,
        pooling=pooling,
        pool_prefix=pool_prefix,
        dense=tuple(dense),
        max_tokens=max_tokens,
        lowercase=bool(settings.get("do_lower_case", False)),
        prefixes=_prefixes(config),
        cut=_cut(config),
        matryoshka=_matryoshka(folder, transformer),
        others=others,
    )


def require_tokenizer(folder: Path) -> None:
    """Raises ModelError if the folder has no tokenizer.json; the message says how to save one."""
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(
            f"{folder} has no tokenizer.json; save the model with its fast tokenizer "
            "(AutoTokenizer.from_pretrained(...).save_pretrained(folder))"
        )


def token_limit(folder: Path, positions: int | None, said: int | None = None) -> int:
    """The number of tokens that a network reads: the smaller of its positions and its configured limit.

    `positions`: None if unlimited. `said`: the limit in the folder's settings; None: that of its tokenizer. Raises
    ModelError if neither is known, or if the tokenizer's limit is not a number of at least 1.
    """
    file = folder / "tokenizer_config.json"
    longest = json_object(file).get("model_max_length")
    if longest is not None and not (isinstance(longest, int | float) and longest >= 1):
        raise ModelError(f"{file}: model_max_length must be a number above 0")
    limits = [positions, said or longest]
    known = [int(limit) for limit in limits if limit and limit < _ENDLESS]
    if not known:
        raise ModelError(f"{folder}: neither the model nor its tokenizer says how many tokens it reads")
    return min(known)


def network_facts(folder: Path) -> dict[str, Any]:
    """The config.json of a folder without the entries that do not change what the network computes."""
    return {name: value for name, value in json_object(folder / "config.json").items() if name not in _NOTES}


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
    """The JSON object in a file of a model folder; {} if there is no such file. Raises ModelError for other content."""
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
    if not modules or not modules[0]["type"].endswith(("Transformer", "CLIPModel")):
        raise ModelError(f"{file}: the first module must be a Transformer")
    return modules


def _settings_file(transformer: Path) -> Path:
    """The `sentence_bert_config.json`; the first releases named it after the network instead of "bert"."""
    names = [transformer / f"sentence_{network}_config.json" for network in _NETWORKS]
    return next((file for file in names if file.is_file()), names[0])


def _plain_pooling(transformer: Path) -> Pooling:
    """The pooling of a folder that names none: last token for causal models, as it has read all others, else mean."""
    config = json_object(transformer / "config.json")
    architectures = config.get("architectures") or [""]
    causal = str(architectures[0]).endswith("ForCausalLM") and config.get("is_causal", True)
    return Pooling.LAST_TOKEN if causal else Pooling.MEAN


def _pooling(folder: Path, *, alone: bool) -> tuple[Pooling, bool]:
    """The pooling, and whether the prefix is pooled. `alone`: whether no layer follows that a scale would affect."""
    file = folder / "config.json"
    config = json_object(file)
    flags = {
        key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for key, value in config.items()
        if key.startswith("pooling_mode_") and value is True
    }
    given = config.get("pooling_mode") or sorted(flags) or [Pooling.MEAN.value]
    modes = [given] if isinstance(given, str) else [str(mode) for mode in given]
    chosen = "mean" if alone and modes[0].startswith(_SCALED_MEAN) else modes[0]
    if len(modes) != 1 or chosen not in tuple(Pooling):
        behind = "" if alone else f"; {_SCALED_MEAN}_tokens cannot have a layer behind it"
        raise ModelError(
            f"{file}: pooling {' with '.join(modes)} is not supported; supported is one of "
            f"{', '.join(Pooling)} and {_SCALED_MEAN}_tokens{behind}"
        )
    return Pooling(chosen), bool(config.get("include_prompt", True))


def _all_normalize(modules: list[dict[str, str]]) -> bool:
    return all(module["type"].endswith((".Normalize", ".Dropout")) for module in modules)


def _dense(folder: Path) -> DenseConfig:
    config = json_object(folder / "config.json")
    if config.get("use_residual") or config.get("module_input_name", _POOLED) != _POOLED:
        raise ModelError(
            f"{folder / 'config.json'}: a Dense module must be plain: no use_residual, and {_POOLED} as its input"
        )
    try:
        return DenseConfig(
            folder=folder,
            in_features=int(config["in_features"]),
            out_features=int(config["out_features"]),
            bias=bool(config.get("bias", True)),
            activation=str(config.get("activation_function", "torch.nn.modules.activation.Tanh")),
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
    prompts = {str(name).lower(): str(text or "") for name, text in named.items()}
    default = prompts.get(str(config.get("default_prompt_name")).lower(), "")
    names = {
        Representation.QUERY: ("query",),
        Representation.DOCUMENT: ("document", "passage", "corpus"),
        Representation.SYMMETRIC: ("symmetric", "sts", "query"),
    }
    return {representation: _first_prompt(prompts, candidates, default) for representation, candidates in names.items()}


def _first_prompt(prompts: Mapping[str, str], candidates: tuple[str, ...], default: str) -> str:
    """The first non-empty prompt of the candidates; "" if all that exist are empty, `default` if none exists."""
    present = [prompts[name] for name in candidates if name in prompts]
    return next((prompt for prompt in present if prompt), "" if present else default)


def _cut(file: Path) -> int | None:
    cut = json_object(file).get("truncate_dim")
    if cut is not None and (not isinstance(cut, int) or cut < 1):
        raise ModelError(f"{file}: truncate_dim must be a number above 0")
    return cut


def _matryoshka(folder: Path, transformer: Path) -> tuple[int, ...]:
    """The Matryoshka dimensions, from both configurations and the model card that sentence-transformers writes."""
    found: set[int] = set()
    for file in (transformer / "config.json", folder / "config_sentence_transformers.json"):
        config = json_object(file)
        for key in _MATRYOSHKA_KEYS:
            values = config.get(key) or []
            if not isinstance(values, list) or not all(isinstance(value, int) and value > 0 for value in values):
                raise ModelError(f"{file}: {key} must be a list of numbers above 0")
            found.update(values)
    card = folder / "README.md"
    if card.is_file():
        text = card.read_text(encoding="utf-8", errors="replace")
        for listed in _CARD_DIMENSIONS.findall(text):
            found.update(int(value) for value in listed.split(",") if value.strip())
    return tuple(sorted(found - {0}, reverse=True))


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: {error}") from error
