"""Token vectors to one vector, the last steps of a sentence encoder."""

from __future__ import annotations

import importlib

import torch
from safetensors.torch import load_file
from torch import Tensor

from core.errors import ModelError
from embedder.modelfolder import DenseConfig, Pooling


def pool_weights(pooling: Pooling, mask: Tensor, factors: Tensor | None = None) -> Tensor:
    """(batch, tokens) float: how much each token's vector counts in the pool, 0 for padding; rows need not sum to 1.

    `mask`: (batch, tokens) bool, padding on the right. `factors`: (batch, tokens), used by mean pooling alone: the
    other poolings read one token, which no factor can weigh against another.
    """
    weights = mask.to(torch.float32)
    match pooling:
        case Pooling.MEAN:
            return weights if factors is None else weights * factors
        case Pooling.CLS:
            return torch.nn.functional.one_hot(torch.zeros_like(mask[:, 0], dtype=torch.long), mask.shape[1]).float()
        case Pooling.LAST_TOKEN:
            return torch.nn.functional.one_hot(mask.sum(dim=1) - 1, mask.shape[1]).float()


def pool(hidden: Tensor, weights: Tensor) -> Tensor:
    """(batch, width): the weighted mean of `hidden` (batch, tokens, width) by `weights` (batch, tokens)."""
    return (weights[:, None, :] @ hidden).squeeze(1) / weights.sum(dim=1, keepdim=True)


class DenseHead(torch.nn.Module):
    """The linear layers that some models put behind the pooling."""

    def __init__(self, configs: tuple[DenseConfig, ...]) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(*(layer for config in configs for layer in _dense_layers(config)))
        self.out_features = configs[-1].out_features if configs else None
        self.is_affine = all(_is_identity(config) for config in configs)

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features). Without layers the vectors come back as they are."""
        return self.layers(vectors)  # type: ignore[no-any-return]


def _dense_layers(config: DenseConfig) -> list[torch.nn.Module]:
    linear = torch.nn.Linear(config.in_features, config.out_features, bias=config.bias)
    weights = config.folder / "model.safetensors"
    if not weights.is_file():
        raise ModelError(f"{config.folder} has no model.safetensors")
    state = {name.removeprefix("linear."): tensor for name, tensor in load_file(weights).items()}
    linear.load_state_dict(state)
    return [linear] if _is_identity(config) else [linear, _activation(config.activation)]


def _is_identity(config: DenseConfig) -> bool:
    return config.activation.endswith(".Identity")


def _activation(name: str) -> torch.nn.Module:
    module, _, attribute = name.rpartition(".")
    if not module.startswith("torch.nn"):
        raise ModelError(f"activation {name} is not one of torch.nn")
    activation = getattr(importlib.import_module(module), attribute)()
    if not isinstance(activation, torch.nn.Module):
        raise ModelError(f"activation {name} is not a torch module")
    return activation
