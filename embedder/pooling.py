"""Token vectors to one vector, the last steps of a sentence encoder."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from core.errors import InvalidControl, ModelError
from embedder.modelfolder import DenseConfig, Pooling


def pool_weights(pooling: Pooling, lengths: Sequence[int], factors: Tensor | None, device: torch.device) -> Tensor:
    """(tokens,) float: how much each token of a packed batch counts in its text's pool; a text's need not sum to 1.

    `lengths`: tokens by text. `factors`: (tokens,), used by mean pooling alone: the other poolings read one token,
    which no factor can weigh against another.
    """
    if pooling is Pooling.MEAN:
        return torch.ones(sum(lengths), device=device) if factors is None else factors
    ends = torch.tensor(lengths, device=device).cumsum(0)
    weights = torch.zeros(sum(lengths), device=device)
    weights[ends - 1 if pooling is Pooling.LAST_TOKEN else ends - torch.tensor(lengths, device=device)] = 1.0
    return weights


def pool(hidden: Tensor, weights: Tensor, lengths: Sequence[int]) -> Tensor:
    """(texts, width): each text's weighted mean of its rows of `hidden` (tokens, width), by `weights` (tokens,).

    Raises InvalidControl where the weights of a text sum to 0.
    """
    texts = torch.repeat_interleave(torch.tensor(lengths, device=hidden.device))  # (tokens,) the text of each token
    totals = weights.new_zeros(len(lengths)).index_add_(0, texts, weights)
    if bool((totals <= 0).any()):
        raise InvalidControl("the controls suppress every token of the text", param="controls")
    sums = hidden.new_zeros((len(lengths), hidden.shape[1])).index_add_(0, texts, weights[:, None] * hidden)
    return sums / totals[:, None]


class DenseHead(torch.nn.Module):
    """The linear layers that some models put behind the pooling."""

    def __init__(self, configs: tuple[DenseConfig, ...]) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(*(layer for config in configs for layer in _dense_layers(config)))
        self.out_features = configs[-1].out_features if configs else None
        self.is_affine = all(_is_identity(config) for config in configs)
        self.requires_grad_(False)  # nothing is trained, and inference tensors cannot be recorded for a gradient

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features). Without layers the vectors come back as they are."""
        return self.layers(vectors)  # type: ignore[no-any-return]


def _dense_layers(config: DenseConfig) -> list[torch.nn.Module]:
    linear = torch.nn.Linear(config.in_features, config.out_features, bias=config.bias)
    weights = config.folder / "model.safetensors"
    if not weights.is_file():
        raise ModelError(f"{config.folder} has no model.safetensors")
    try:
        linear.load_state_dict({name.removeprefix("linear."): tensor for name, tensor in load_file(weights).items()})
    except (SafetensorError, RuntimeError) as error:
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
