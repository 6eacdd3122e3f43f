"""Tiny random models with a sparse side, saved as real model folders."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    AutoModelForMaskedLM,
    DebertaV2Config,
    DistilBertConfig,
    ModernBertConfig,
    PreTrainedConfig,
)

from tests.embedder.tiny import CONFIGS, SIZES, save_tiny_model, write_json

MORE_CONFIGS: dict[str, PreTrainedConfig] = {
    "distilbert": DistilBertConfig(
        vocab_size=40, dim=16, n_layers=2, n_heads=4, hidden_dim=32, max_position_embeddings=40, initializer_range=0.5
    ),
    "modernbert": ModernBertConfig(**SIZES, global_attn_every_n_layers=2, local_attention=4),
    "deberta-v2": DebertaV2Config(**SIZES),
}


def save_tiny_masked(
    folder: Path, kind: str = "bert", *, pooling: str | None = "max", activation: str = "relu", **settings: int | str
) -> Path:
    """A sparse encoder as sentence-transformers saves it; with `pooling` None a plain masked language model."""
    save_tiny_model(folder)
    for file in ("modules.json", "sentence_bert_config.json", "model.safetensors"):
        (folder / file).unlink()
    torch.manual_seed(11)
    config = MORE_CONFIGS[kind] if kind in MORE_CONFIGS else CONFIGS[kind](**{**SIZES, **settings})
    model = AutoModelForMaskedLM.from_config(config)
    with torch.no_grad():
        model.get_output_embeddings().bias.normal_()  # zeros as made, and then nobody would miss it
    model.save_pretrained(folder)
    if pooling is not None:
        package = "sentence_transformers.sparse_encoder.models"
        write_json(
            folder / "modules.json",
            [
                {"idx": 0, "name": "0", "path": "", "type": f"{package}.MLMTransformer"},
                {"idx": 1, "name": "1", "path": "1_SpladePooling", "type": f"{package}.SpladePooling"},
            ],
        )
        write_json(folder / "config_sentence_transformers.json", {"model_type": "SparseEncoder"})
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": False})
        write_json(
            folder / "1_SpladePooling" / "config.json",
            {"pooling_strategy": pooling, "activation_function": activation, "word_embedding_dimension": 40},
        )
    else:
        write_json(folder / "tokenizer_config.json", {"model_max_length": 20, "tokenizer_class": "TokenizersBackend"})
    return folder


def save_tiny_hybrid(folder: Path, *, pooling: str = "cls_token") -> Path:
    """As BGE-M3 comes: an XLM-RoBERTa, a pooling, and the head over single tokens."""
    save_tiny_model(folder, "xlm-roberta", pooling=pooling)
    torch.manual_seed(5)
    torch.save({"weight": torch.randn(1, 16), "bias": torch.randn(1)}, folder / "sparse_linear.pt")
    torch.save({"weight": torch.randn(16, 16), "bias": torch.randn(16)}, folder / "colbert_linear.pt")
    return folder
