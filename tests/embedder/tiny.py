"""Tiny random models, saved as real model folders."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, MPNetConfig, PreTrainedConfig, PreTrainedTokenizerFast, XLMRobertaConfig

WORDS = ("the a play tv game console movie red blue car house wolf train query : passage ; to on my i want").split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
    "initializer_range": 0.5,  # large enough that attention is far from even
}
CONFIGS: dict[str, type[PreTrainedConfig]] = {"bert": BertConfig, "xlm-roberta": XLMRobertaConfig, "mpnet": MPNetConfig}


def save_tiny_model(
    folder: Path, kind: str = "bert", *, pooling: str = "mean", dense: str | None = None, **st_config: Any
) -> Path:
    """A sentence-transformers folder with random weights. `dense`: the activation of a Dense layer of 6 outputs."""
    torch.manual_seed(7)
    AutoModel.from_config(CONFIGS[kind](**SIZES)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    modules = ["Transformer", "Pooling", *(["Dense"] if dense else []), "Normalize"]
    paths = ["", "1_Pooling", *(["2_Dense"] if dense else []), f"{len(modules) - 1}_Normalize"]
    types = {"Transformer": "Transformer", "Pooling": "Pooling", "Dense": "Dense", "Normalize": "Normalize"}
    write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{types[name]}"}
            for i, (name, path) in enumerate(zip(modules, paths, strict=True))
        ],
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": False})
    flags = {
        name: name == f"pooling_mode_{pooling}"
        for name in (
            "pooling_mode_cls_token",
            "pooling_mode_mean_tokens",
            "pooling_mode_max_tokens",
            "pooling_mode_lasttoken",
        )
    }
    if pooling == "mean":
        flags["pooling_mode_mean_tokens"] = True
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 16, **flags})
    for path in paths[2:]:
        (folder / path).mkdir(exist_ok=True)
    if dense:
        config = {"in_features": 16, "out_features": 6, "bias": True, "activation_function": dense}
        write_json(folder / "2_Dense" / "config.json", config)
        save_file(
            {"linear.weight": torch.randn(6, 16), "linear.bias": torch.randn(6)},
            folder / "2_Dense" / "model.safetensors",
        )
    if st_config:
        write_json(folder / "config_sentence_transformers.json", st_config)
    return folder


def write_json(file: Path, value: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value))


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
