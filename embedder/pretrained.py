"""Loads networks from Hugging Face folders with transformers, and refuses folders with incomplete weights.

Code that a folder contains is never run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from core.errors import ModelError

# Without trust_remote_code=False, transformers would ask on the terminal whether to run the folder's code, and wait.
_AS_IT_IS = {"local_files_only": True, "trust_remote_code": False}


def load_config(folder: Path) -> PreTrainedConfig:
    """The configuration of a folder's network. Raises ModelError if it cannot be read."""
    with _named(folder):
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, **_AS_IT_IS)
    return config


def input_names(folder: Path) -> list[str]:
    """The names of the network's inputs, such as token_type_ids, as the tokenizer lists them. Raises ModelError."""
    with _named(folder):
        names: list[str] = AutoTokenizer.from_pretrained(folder, **_AS_IT_IS).model_input_names
    return names


def load_pretrained(
    network: Any, folder: Path, device: torch.device, *, lacking: str, unused: str | None = None
) -> PreTrainedModel:
    """The network of a folder in float32, ready to run. Nothing is downloaded.

    `network`: a model class of transformers, or one of its Auto classes. `lacking`: what the error message says about
    missing weights. `unused`: a module whose weights may be missing, because its output is not used. Raises ModelError
    if the network cannot be loaded, or if weights are missing or have other shapes.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # no progress bar on stderr
    with _named(folder):
        model, report = network.from_pretrained(
            folder,
            **_AS_IT_IS,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, with a message
        )
    if report["mismatched_keys"]:
        name, stored, built = min(report["mismatched_keys"])
        raise ModelError(
            f"{folder}: the weights do not fit the config.json: {name!r} is {tuple(stored)}, not {tuple(built)}"
        )
    missing = sorted(name for name in report["missing_keys"] if unused is None or not name.startswith(f"{unused}."))
    if missing:  # transformers would initialise them at random
        raise ModelError(f"{folder}: the weights lack {missing[0]!r}: {lacking}")
    moved: PreTrainedModel = model.eval().to(device)
    return moved


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Turns errors of transformers into ModelErrors that name the folder."""
    try:
        yield
    except Exception as error:  # a damaged file can raise anything: from pickle, huggingface_hub, arithmetic
        raise ModelError(f"{folder}: {str(error) or type(error).__name__}") from error
