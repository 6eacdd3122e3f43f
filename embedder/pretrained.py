"""Networks of Hugging Face folders, loaded by transformers: with all of their weights, or not at all.

Code that a folder holds is never run.
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

# Without the second, transformers asks the terminal whether to run the code, and waits for an answer.
_AS_IT_IS = {"local_files_only": True, "trust_remote_code": False}


def load_config(folder: Path) -> PreTrainedConfig:
    """Raises ModelError."""
    with _named(folder):
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, **_AS_IT_IS)
    return config


def input_names(folder: Path) -> list[str]:
    """What the network of a folder is given, as its tokenizer says, such as token_type_ids. Raises ModelError."""
    with _named(folder):
        names: list[str] = AutoTokenizer.from_pretrained(folder, **_AS_IT_IS).model_input_names
    return names


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
    if missing:  # transformers fills them at random
        raise ModelError(f"{folder}: the weights lack {missing[0]!r}: {lacking}")
    moved: PreTrainedModel = model.eval().to(device)
    return moved


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Turn what transformers raises into a ModelError that names the folder."""
    try:
        yield
    except Exception as error:  # a damaged file can raise anything here: of pickle, of huggingface_hub, of arithmetic
        raise ModelError(f"{folder}: {str(error) or type(error).__name__}") from error
