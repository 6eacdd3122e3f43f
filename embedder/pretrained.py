"""Networks of Hugging Face folders, loaded by transformers: with all of their weights, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from core.errors import ModelError


def load_config(folder: Path) -> PreTrainedConfig:
    """Raises ModelError."""
    with _named(folder):
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True)
    return config


def load_pretrained(
    network: Any, folder: Path, device: torch.device, *, lacking: str, unused: str | None = None
) -> PreTrainedModel:
    """The network of a folder in float32, ready to run. Nothing is downloaded.

    `network`: the class of transformers, or one of its Auto classes. `lacking`: what the error says of weights that are
    missing. `unused`: the module that may be missing, as nothing that it computes is used. Raises ModelError.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # no bar on stderr, least of all in a pipe
    with _named(folder):
        model, report = network.from_pretrained(
            folder,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, with a message
        )
    if report["mismatched_keys"]:
        raise ModelError(f"{folder}: the weights do not fit the config.json: {min(report['mismatched_keys'])}")
    missing = sorted(name for name in report["missing_keys"] if unused is None or not name.startswith(f"{unused}."))
    if missing:  # transformers fills them at random
        raise ModelError(f"{folder}: the weights lack {missing[0]!r}: {lacking}")
    moved: PreTrainedModel = model.eval().to(device)
    return moved


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Turn what transformers raises into a ModelError that names the folder."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: {error}") from error
