"""The last steps of a sentence encoder: pooling of token vectors into one vector, and dense layers after it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pickle import UnpicklingError

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from core.errors import InvalidControl, ModelError
from core.records import BoolArray, Float32Array
from embedder.modelfolder import DenseConfig, Pooling

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def pool_weights(
    pooling: Pooling,
    lengths: Sequence[int],
    factors: Tensor | None,
    device: torch.device,
    prefixes: Sequence[BoolArray] = (),
) -> Tensor:
    """(tokens,) float32: the weight of each token of a packed batch in its text's pool; they need not sum to 1.

    `lengths`: the number of tokens of each text. `factors`: (tokens,), used by the mean poolings only; the others have
    no weights that a factor could multiply. `prefixes`: for each text (tokens,) whether a token belongs to the
    representation's prefix, if the prefix is to be left out of the pool; special tokens before it are left out too.
    """
    if pooling in (Pooling.MEAN, Pooling.MAX) and not any(prefix.any() for prefix in prefixes):
        weights = torch.ones(sum(lengths), device=device)  # the case of most models
        return weights if factors is None or pooling is Pooling.MAX else weights * factors
    starts = np.array([_behind_prefix(prefix) for prefix in prefixes] or [0] * len(lengths))
    places = np.concatenate([np.arange(length) for length in lengths])
    firsts, lasts = np.repeat(starts, lengths), np.repeat(np.array(lengths) - 1, lengths)
    match pooling:
        case Pooling.CLS:
            counts = places == np.minimum(firsts, lasts)
        case Pooling.LAST_TOKEN:
            counts = places == lasts
        case Pooling.WEIGHTED_MEAN:
            counts = (places + 1) * (places >= firsts)
        case Pooling.MEAN | Pooling.MAX:
            counts = places >= firsts
    weights = torch.from_numpy(counts.astype(np.float32)).to(device)
    return weights * factors if pooling.is_mean and factors is not None else weights


def pool(hidden: Tensor, weights: Tensor, lengths: Sequence[int], pooling: Pooling = Pooling.MEAN) -> Tensor:
    """(texts, width): for each text the mean of its rows of `hidden` (tokens, width), weighted by `weights` (tokens,).

    `Pooling.MAX`: the largest value of each component over the rows with a weight other than 0. Raises InvalidControl
    if the weights of a text sum to 0.
    """
    # Text by text: index_add_ would wake every torch thread even for a few rows, besides the threads of the network.
    shares, vectors = _by_text(weights, lengths), _by_text(hidden, lengths)
    totals: list[float] = torch.stack([part.sum() for part in shares]).tolist()
    if not all(total > 0 for total in totals):
        raise InvalidControl("the controls suppress every token of the text", param="controls")
    if pooling is Pooling.MAX:
        pooled = [own[part != 0].amax(dim=0) for own, part in zip(vectors, shares, strict=True)]
    else:
        pooled = [part @ own / total for part, own, total in zip(shares, vectors, totals, strict=True)]
    return torch.stack(pooled)


def _by_text(tokens: Tensor, lengths: Sequence[int]) -> Sequence[Tensor]:
    return [tokens] if len(lengths) == 1 else torch.split(tokens, list(lengths))


class DenseHead(torch.nn.Module):
    """The dense layers that some models have after the pooling, and an optional projection to fewer dimensions."""

    def __init__(self, configs: tuple[DenseConfig, ...], projection: Float32Array | None = None) -> None:
        """`projection`: (size, features of its input), applied last. Raises ModelError for unusable weights."""
        super().__init__()
        layers = [layer for config in configs for layer in _dense_layers(config)]
        self.out_features = configs[-1].out_features if configs else None
        if projection is not None:
            layers.append(_projection(projection))
            self.out_features = len(projection)
        self.layers = torch.nn.Sequential(*layers)
        self.is_affine = all(_is_identity(config) for config in configs)
        self.requires_grad_(False)  # nothing is trained, and inference tensors cannot be recorded for a gradient

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features). Without layers the vectors are returned unchanged."""
        return self.layers(vectors)  # type: ignore[no-any-return]


def _behind_prefix(prefix: BoolArray) -> int:
    """The index of the first token after the prefix; 0 without a prefix."""
    return int(np.flatnonzero(prefix)[-1]) + 1 if prefix.any() else 0


def _projection(matrix: Float32Array) -> torch.nn.Module:
    linear = torch.nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
    linear.load_state_dict({"weight": torch.from_numpy(matrix)})
    return linear


def _dense_layers(config: DenseConfig) -> list[torch.nn.Module]:
    linear = torch.nn.Linear(config.in_features, config.out_features, bias=config.bias)
    weights = next((file for name in _WEIGHTS if (file := config.folder / name).is_file()), None)
    if weights is None:
        raise ModelError(f"{config.folder} has no {_WEIGHTS[0]}")
    try:
        stored = load_file(weights) if weights.suffix == ".safetensors" else torch.load(weights, weights_only=True)
        linear.load_state_dict({name.removeprefix("linear."): tensor.float() for name, tensor in stored.items()})
    except (SafetensorError, RuntimeError, UnpicklingError, EOFError) as error:
        raise ModelError(f"{weights}: {error}") from error
    return [linear] if _is_identity(config) else [linear, _activation(config.activation)]


def _is_identity(config: DenseConfig) -> bool:
    return config.activation.endswith(".Identity")


def _activation(name: str) -> torch.nn.Module:
    module, _, attribute = name.rpartition(".")
    if not module.startswith("torch.nn"):
        raise ModelError(f"activation {name} is not one of torch.nn")
    try:
        activation = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ModelError(f"activation {name}: {error}") from error
    if not isinstance(activation, torch.nn.Module):
        raise ModelError(f"activation {name} is not a torch module")
    return activation
