"""Loads encoders and other models from model folders."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from core.errors import ModelError
from core.protocols import Encoder, Reranker, SparseEncoder
from core.records import Float32Array, Representation
from embedder.backbone import Backbone
from embedder.bert import load_bert
from embedder.fingerprints import fingerprint_of
from embedder.kinds import DEFAULT_MODEL, DEFAULT_NAME, DEFAULT_PACKAGE, ModelKind, model_folder, model_kind
from embedder.local import LocalEncoder
from embedder.modelfolder import ModelFolder, Pooling, read_model_folder, token_limit, weights_sha256
from embedder.pooling import DenseHead
from embedder.precision import Precision, parse_precision
from embedder.projection import cut, projected_fingerprint, stored_projection
from embedder.tokens import load_tokenizer

if TYPE_CHECKING:
    from embedder.causal.model import CausalModel  # at run time it would import transformers, which takes seconds

    Model = Encoder | SparseEncoder | Reranker | CausalModel

DEFAULT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True, kw_only=True, slots=True)
class Overrides:
    """The user's settings for a dense model that replace those of its folder; None: use the folder's."""

    query_prefix: str | None = None  # also for the symmetric representation
    document_prefix: str | None = None
    pooling: Pooling | None = None
    dimension: int | None = None  # by a stored projection to this size if there is one, else by cutting the vectors

    def applied(self, folder: ModelFolder) -> ModelFolder:
        """The folder's description with prefixes and pooling replaced; `dimension` is applied when loading."""
        prefixes = dict(folder.prefixes)
        if self.query_prefix is not None:
            prefixes[Representation.QUERY] = prefixes[Representation.SYMMETRIC] = self.query_prefix
        if self.document_prefix is not None:
            prefixes[Representation.DOCUMENT] = self.document_prefix
        return replace(folder, prefixes=prefixes, pooling=self.pooling or folder.pooling)


_AS_THE_FOLDER_SAYS = Overrides()


def load_model(
    model: str | Path,
    *,
    name: str | None = None,
    kind: ModelKind | None = None,
    device: str = "auto",
    precision: str = "auto",
    overrides: Overrides = _AS_THE_FOLDER_SAYS,
    fitted: Path | None = None,
) -> Model:
    """Loads the model of a folder, of any kind, or the default model for "default".

    `name`: None for the folder's own. `kind`: None to detect it from the folder's files. The other parameters are those
    of `load_encoder`; a model that is not dense takes no overrides and computes in fp32. Raises ModelError.
    """
    folder = model_folder(model)
    chosen = kind or model_kind(folder)
    if chosen is not ModelKind.DENSE and overrides != _AS_THE_FOLDER_SAYS:
        raise ModelError(f"{folder} holds a {chosen} model: only a dense one takes prefixes, a pooling or a dimension")
    if chosen is not ModelKind.DENSE and parse_precision(precision) not in (Precision.AUTO, Precision.FP32):
        raise ModelError(f"{folder} holds a {chosen} model: only a dense one computes in {precision}, others in fp32")
    match chosen:
        case ModelKind.DENSE:
            return load_encoder(
                str(model), name=name, device=device, precision=precision, overrides=overrides, fitted=fitted
            )
        case ModelKind.RERANKER:
            from embedder.crossencoder import load_reranker

            return load_reranker(folder, name=name, device=device)
        case ModelKind.SPARSE:
            from embedder.sparse import load_sparse

            return load_sparse(folder, name=name, device=device)
        case ModelKind.HYBRID:
            from embedder.hybrid import load_hybrid

            return load_hybrid(folder, name=name, device=device)
        case ModelKind.VISION:
            from embedder.vision.loading import load_vision

            return load_vision(folder, name=name, device=device)
        case ModelKind.CAUSAL:
            from embedder.causal.model import load_causal

            return load_causal(folder, name=name, device=torch_device(device))


def load_encoder(
    model: str = DEFAULT_MODEL,
    *,
    name: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    overrides: Overrides = _AS_THE_FOLDER_SAYS,
    fitted: Path | None = None,
) -> LocalEncoder:
    """Loads the dense text encoder of a model folder, or the one that comes with Salience for "default".

    `device`: "auto" (CUDA if available), "cpu", "cuda" or "cuda:N". `precision`: a value of
    embedder.precision.Precision. `fitted`: the folder of the user's own projections, for `overrides.dimension`.
    Nothing is downloaded.
    Raises ModelError if the folder, its weights, the precision, the dimension or the device cannot be used.
    """
    folder = model_folder(model)
    described = overrides.applied(read_model_folder(folder))
    weights = weights_sha256(described.transformer)
    if model == DEFAULT_MODEL and weights != DEFAULT_WEIGHTS_SHA256:
        raise ModelError(
            f"the weights in {folder} have sha256 {weights}, expected {DEFAULT_WEIGHTS_SHA256}: "
            f"reinstall the package {DEFAULT_PACKAGE.replace('_', '-')}"
        )
    backbone, positions = load_backbone(described, torch_device(device), parse_precision(precision))
    max_tokens = token_limit(described.transformer, positions, described.max_tokens)
    definition, tokenizer = load_tokenizer(described.transformer, max_tokens, lowercase=described.lowercase)
    whole = described.dense[-1].out_features if described.dense else backbone.width
    fingerprint = space = fingerprint_of(described, weights, definition, max_tokens, whole)
    projection = _projection(described, whole, overrides.dimension, space, fitted)
    if projection is not None:
        fingerprint = space = projected_fingerprint(fingerprint, projection)
    if backbone.precision is not Precision.FP32:  # a projection fits every precision, stored vectors only one
        fingerprint = hashlib.sha256(f"{fingerprint} {backbone.precision}".encode()).hexdigest()[:32]
    return LocalEncoder(
        name=name or (DEFAULT_NAME if model == DEFAULT_MODEL else described.name),
        folder=described,
        backbone=backbone,
        tokenizer=tokenizer,
        head=DenseHead(described.dense, projection).to(backbone.device),
        fingerprint=fingerprint,
        space=space,
        dimension=whole if projection is None else len(projection),
    )


def _projection(
    described: ModelFolder, whole: int, asked: int | None, space: str, fitted: Path | None
) -> Float32Array | None:
    """(size, whole) the projection to the dimension set by the user or the folder; None to keep all dimensions."""
    size = asked or described.cut
    if size is None or size == whole:
        return None
    if size > whole:
        raise ModelError(f"{described.transformer}: dimension {size} cannot be had, the model's vectors have {whole}")
    stored = stored_projection(space, size, fitted) if asked else None
    return cut(size, whole) if stored is None else stored


def load_backbone(
    described: ModelFolder, device: torch.device, precision: Precision = Precision.FP32
) -> tuple[Backbone, int | None]:
    """The network and its number of positions (None: unlimited). Raises ModelError."""
    bert = load_bert(described.transformer, device, precision)
    if bert is not None:
        return bert, bert.max_tokens
    from embedder.generic import load_generic  # transformers takes seconds to import

    return load_generic(described.transformer, device, precision)


def torch_device(device: str) -> torch.device:
    """The device "auto" (CUDA if available), "cpu", "cuda" or "cuda:N". Raises ModelError if it cannot be used."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:  # torch's message lists every kind of device it knows
        raise ModelError(f"device {device!r} cannot be used: allowed are auto, cpu, cuda and cuda:N") from error
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {device!r} cannot be used: {error}") from error
    return chosen
