"""Tiny random cross-encoders, saved as real model folders."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

from tests.embedder.tiny import SIZES, tiny_tokenizer


def save_classifier(folder: Path, config: str = "BertConfig", *, labels: int = 1, **settings: object) -> Path:
    """A Hugging Face folder of a random sequence classifier."""
    torch.manual_seed(5)
    made = getattr(transformers, config)(**SIZES, num_labels=labels, **settings)
    network = transformers.AutoModelForSequenceClassification.from_config(made)
    network.save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 30
    if config == "BertConfig":  # its own tokenizer tells query and document apart
        tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer.save_pretrained(folder)
    return folder
