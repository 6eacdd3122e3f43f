"""Model folders to encoders."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch

from core.errors import ModelError
from core.protocols import Encoder, Reranker, SparseEncoder
from embedder.backbone import Backbone
from embedder.bert import load_bert
from embedder.kinds import DEFAULT_MODEL, DEFAULT_NAME, DEFAULT_PACKAGE, ModelKind, model_folder, model_kind
from embedder.local import LocalEncoder
from embedder.modelfolder import ModelFolder, json_object, read_model_folder, weights_sha256
from embedder.pooling import DenseHead
from embedder.tokens import TextTokenizer

Model = Encoder | SparseEncoder | Reranker
_NOTES = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}  # of a config.json
DEFAULT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def load_model(
    model: str | Path, *, name: str | None = None, kind: ModelKind | None = None, device: str = "auto"
) -> Model:
    """Whatever model a folder holds, under `name` (None: the folder's own), or the default one for "default".

    `kind`: None where the folder's own files are to say it. `device` as in `load_encoder`. Raises ModelError.
    """
    folder = model_folder(model)
    match kind or model_kind(folder):
        case ModelKind.DENSE:
            return load_encoder(str(model), name=name, device=device)
        case other:
            raise ModelError(f"{folder} holds a {other} model")


def load_encoder(model: str = DEFAULT_MODEL, *, name: str | None = None, device: str = "auto") -> LocalEncoder:
    """The dense text encoder of a model folder, or the one that comes with Salience for "default".

    `device`: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N". Nothing is downloaded.
    Raises ModelError where the folder, its weights or the device cannot be used.
    """
    folder = model_folder(model)
    described = read_model_folder(folder)
    weights = weights_sha256(described.transformer)
    if model == DEFAULT_MODEL and weights != DEFAULT_WEIGHTS_SHA256:
        raise ModelError(
            f"the weights in {folder} have sha256 {weights}, expected {DEFAULT_WEIGHTS_SHA256}: "
            f"reinstall the package {DEFAULT_PACKAGE.replace('_', '-')}"
        )
    backbone, positions = _load_backbone(described, _device(device))
    max_tokens = _max_tokens(described, positions)
    definition, tokenizer = _load_tokenizer(described, max_tokens)
    head = DenseHead(described.dense).to(backbone.device)
    dimension = head.out_features or backbone.width
    return LocalEncoder(
        name=name or (DEFAULT_NAME if model == DEFAULT_MODEL else described.name),
        folder=described,
        backbone=backbone,
        tokenizer=tokenizer,
        head=head,
        fingerprint=_fingerprint(described, weights, definition, max_tokens, dimension),
        dimension=dimension,
    )


def _load_backbone(described: ModelFolder, device: torch.device) -> tuple[Backbone, int | None]:
    """The network and how many positions it has; None: any number."""
    bert = load_bert(described.transformer, device)
    if bert is not None:
        return bert, bert.max_tokens
    from embedder.generic import load_generic  # transformers takes seconds to import

    return load_generic(described.transformer, device)


def _load_tokenizer(described: ModelFolder, max_tokens: int) -> tuple[str, TextTokenizer]:
    """The text of `tokenizer.json` and what it defines."""
    file = described.transformer / "tokenizer.json"
    try:
        definition = file.read_text(encoding="utf-8")
        return definition, TextTokenizer(definition, max_tokens=max_tokens, lowercase=described.lowercase)
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise ModelError(f"{file}: {error}") from error


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:  # its text lists every kind of device that torch was ever built for
        raise ModelError(f"device {device!r} cannot be used: allowed are auto, cpu, cuda and cuda:N") from error
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {device!r} cannot be used: {error}") from error
    return chosen


def _max_tokens(described: ModelFolder, positions: int | None) -> int:
    """The least of what the folder, the tokenizer and the model's positions allow."""
    tokenizer = json_object(described.transformer / "tokenizer_config.json")
    limits = [positions, described.max_tokens or tokenizer.get("model_max_length")]
    known = [int(limit) for limit in limits if limit]
    if not known:
        raise ModelError(f"{described.transformer}: neither the model nor its tokenizer says how many tokens it reads")
    return min(known)


def _fingerprint(described: ModelFolder, weights: str, tokenizer: str, max_tokens: int, dimension: int) -> str:
    """sha256 (hex, first 32 digits) over everything that a vector depends on."""
    config = json_object(described.transformer / "config.json")
    facts = {
        "weights": weights,
        "network": {name: value for name, value in config.items() if name not in _NOTES},
        "dense": [
            {**{k: v for k, v in asdict(config).items() if k != "folder"}, "weights": weights_sha256(config.folder)}
            for config in described.dense
        ],
        "tokenizer": hashlib.sha256(tokenizer.encode("utf-8")).hexdigest(),
        "lowercase": described.lowercase,
        "max_tokens": max_tokens,
        "pooling": described.pooling,
        "pool_prefix": described.pool_prefix,
        "prefixes": dict(described.prefixes),
        "dimension": dimension,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode("utf-8")).hexdigest()[:32]
