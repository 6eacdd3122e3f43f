"""Tiny random CLIP and SigLIP models, saved as real model folders, and images to read."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPProcessor,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
    SiglipProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tests.embedder.tiny import write_json

WORDS = "the a play tv game console movie red blue car house wolf train photo of : to on my i want big small".split()
VOCABULARY = ["[PAD]", "[UNK]", *WORDS, "[BOS]", "[EOS]"]  # the end has the largest id, as older CLIP configs rely on
EOS = len(VOCABULARY) - 1
TEXT = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 16,
    "bos_token_id": EOS - 1,
    "eos_token_id": EOS,
    "pad_token_id": 0,
}
VISION = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32, "patch_size": 8}
KINDS = ("clip", "clip-older", "clip-margin", "siglip")


def save_tiny_vision(folder: Path, kind: str = "clip") -> Path:
    """A Hugging Face folder. "clip": 4 x 4 patches and a class token; "clip-older": the end of a text is found by its
    largest id; "clip-margin": images are resized to 40 and cut to 32 pixels; "siglip": 3 x 3 patches, 6 pixels over."""
    torch.manual_seed(7)
    if kind == "siglip":
        vision = VISION | {"hidden_size": 16, "image_size": 30}
        model = SiglipModel(SiglipConfig(text_config=TEXT | {"projection_size": 16}, vision_config=vision))
        images = SiglipImageProcessorPil(size={"height": 30, "width": 30})
        processor = SiglipProcessor(images, _tokenizer(kind))
    else:
        text = TEXT | ({"eos_token_id": 2} if kind == "clip-older" else {})
        vision = VISION | {"image_size": 32}
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
        shortest = 40 if kind == "clip-margin" else 32
        images = CLIPImageProcessorPil(size={"shortest_edge": shortest}, crop_size={"height": 32, "width": 32})
        processor = CLIPProcessor(images, _tokenizer(kind))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)  # large enough that attention is far from even
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_tiny_sentence_transformer(folder: Path) -> Path:
    """A sentence-transformers folder with a CLIPModel module."""
    save_tiny_vision(folder / "0_CLIPModel")
    module = {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    write_json(folder / "modules.json", [module])
    return folder


def noise(seed: int, width: int = 60, height: int = 60) -> Image.Image:
    """Blocks of random colours, so that neither resizing nor compression levels them out."""
    blocks = np.random.default_rng(seed).integers(0, 256, size=(6, 6, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.BILINEAR)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _tokenizer(kind: str) -> PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = [("[BOS]", EOS - 1), ("[EOS]", EOS)]
    around = "$A [EOS]" if kind == "siglip" else "[BOS] $A [EOS]"
    tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[EOS]" if kind == "siglip" else "[PAD]",
        unk_token="[UNK]",
        bos_token="[BOS]",
        eos_token="[EOS]",
        model_max_length=16,
        model_input_names=["input_ids"] if kind == "siglip" else ["input_ids", "attention_mask"],
    )
