"""Tiny random causal language models, saved as real model folders."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

TEXTS = [
    "Andreas likes pizza. He wants to eat it every day, and he says so.",
    "The red house stands by the blue lake; nobody likes the lake in winter.",
    "An apple a day keeps the doctor away! Ein Apfel am Tag, 一个苹果。",
] * 3
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "initializer_range": 0.4,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}


def save_tiny_causal(
    folder: Path, kind: str = "gpt2", *, spare_ids: int = 0, seed: int = 7, around: bool = False
) -> Path:
    """A folder with random weights and a byte-level BPE tokenizer. `spare_ids`: logits that stand for no token.

    `around`: the tokenizer puts the end-of-text token before and behind every text, as Llama's do before it.
    """
    tokenizer = _tokenizer()
    if around:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<end> $A <end>", special_tokens=[("<end>", tokenizer.token_to_id("<end>"))]
        )
    vocabulary = tokenizer.get_vocab_size() + spare_ids
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(_config(kind, vocabulary)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", bos_token="<end>").save_pretrained(folder)
    return folder


def _config(kind: str, vocabulary: int) -> PreTrainedConfig:
    match kind:
        case "gpt2":
            return GPT2Config(
                vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, n_positions=128, initializer_range=0.4,
                bos_token_id=0, eos_token_id=0, resid_pdrop=0.0, attn_pdrop=0.0, embd_pdrop=0.0,
            )  # fmt: skip
        case "llama":
            return LlamaConfig(vocab_size=vocabulary, **SIZES)
        case "qwen3":
            return Qwen3Config(vocab_size=vocabulary, **SIZES)
        case "mistral":
            return MistralConfig(vocab_size=vocabulary, sliding_window=6, **SIZES)
    raise ValueError(kind)


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer
