"""Tiny random models of many architectures, saved as sentence-transformers saves them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import processors
from transformers import AutoModel, T5EncoderModel

from tests.embedder.tiny import SIZES, tiny_tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """A network of transformers and how its sentence encoders are usually pooled."""

    name: str
    config: str  # class of transformers
    pooling: str = "mean"
    settings: dict[str, Any] = field(default_factory=dict)
    steerable: bool = True  # whether controls reach its attention
    decoder: bool = False  # whether its tokenizer ends a text with an end token, as decoders' do


_KV = {"num_key_value_heads": 2, "head_dim": 4}
ARCHITECTURES = (
    Architecture(name="BERT", config="BertConfig"),
    Architecture(name="RoBERTa", config="RobertaConfig", pooling="cls"),
    Architecture(name="XLM-RoBERTa", config="XLMRobertaConfig"),
    Architecture(
        name="DistilBERT", config="DistilBertConfig",
        settings={"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 4},
    ),
    Architecture(name="ALBERT", config="AlbertConfig", settings={"embedding_size": 8}),
    Architecture(name="ELECTRA", config="ElectraConfig", settings={"embedding_size": 8}),
    Architecture(name="MPNet", config="MPNetConfig", steerable=False),
    Architecture(
        name="DeBERTa-v2", config="DebertaV2Config", steerable=False,
        settings={"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
    ),
    Architecture(
        name="ModernBERT", config="ModernBertConfig",
        settings={"global_attn_every_n_layers": 2, "local_attention": 4, "cls_token_id": 2, "sep_token_id": 3},
    ),
    Architecture(name="NomicBERT", config="NomicBertConfig"),
    Architecture(
        name="T5 (encoder)", config="T5Config",
        settings={"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_heads": 4},
    ),
    Architecture(name="Qwen3", config="Qwen3Config", pooling="lasttoken", settings=_KV, decoder=True),
    Architecture(name="Llama", config="LlamaConfig", pooling="lasttoken", settings=_KV, decoder=True),
    Architecture(
        name="Mistral", config="MistralConfig", pooling="lasttoken", settings={**_KV, "sliding_window": 4}, decoder=True
    ),
    Architecture(
        name="Gemma 3 (two-way)", config="Gemma3TextConfig",
        settings={
            **_KV, "use_bidirectional_attention": True, "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    Architecture(
        name="GPT-2", config="GPT2Config", pooling="weightedmean",
        settings={"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 40},
    ),
    Architecture(name="GPT-NeoX", config="GPTNeoXConfig", pooling="weightedmean"),
)  # fmt: skip


def save_architecture(folder: Path, which: Architecture) -> Path:
    """A sentence-transformers folder with random weights, as the installed release writes it."""
    torch.manual_seed(11)
    plain = folder / "plain"
    config = getattr(transformers, which.config)(**SIZES | which.settings)
    network = T5EncoderModel(config) if which.config == "T5Config" else AutoModel.from_config(config)
    with torch.no_grad():
        for weights in network.parameters():
            if weights.dim() > 1:  # some networks are made so even that every text would look alike
                weights.normal_(0, 0.3)
    network.save_pretrained(plain)
    tokenizer = tiny_tokenizer()
    if which.decoder:
        end = processors.TemplateProcessing(single="$A [SEP]", pair="$A $B [SEP]", special_tokens=[("[SEP]", 3)])
        tokenizer._tokenizer.post_processor = end
        tokenizer.padding_side = "left"
    tokenizer.save_pretrained(plain)
    modules = [Transformer(str(plain)), Pooling(16, which.pooling), Normalize()]
    prompts = {"query": "query : ", "document": ""}
    saved = folder / "model"
    model = SentenceTransformer(modules=modules, prompts=prompts, device="cpu")
    model.save_pretrained(str(saved), create_model_card=False)
    return saved
