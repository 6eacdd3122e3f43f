"""Loads encoders from the folders of CLIP and SigLIP models."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, PreTrainedModel

from core.errors import ModelError
from core.prompts import Prompt, TokenIdsItem
from core.records import Int64Array
from embedder.backbone import probe_ids
from embedder.fingerprints import fingerprint_of
from embedder.loading import torch_device
from embedder.modelfolder import ModelFolder, json_object, read_model_folder, token_limit, weights_sha256
from embedder.pretrained import load_pretrained
from embedder.tokens import TextTokenizer, load_tokenizer
from embedder.vision.encoder import VisionEncoder
from embedder.vision.imagefile import RULES
from embedder.vision.processor import read_image_settings
from embedder.vision.towers import Towers

# Starts of the class names of the SigLIP family's tokenizers: the models were trained on lower-cased texts, and these
# classes lower-case in code, whatever their tokenizer.json says.
_LOWERCASING = ("Siglip", "Gemma")


def load_vision(folder: Path, *, name: str | None = None, device: str = "auto") -> VisionEncoder:
    """Loads the encoder of a Hugging Face or sentence-transformers folder with a CLIP or SigLIP model.

    This includes the fixed-resolution models of SigLIP 2. `name`: None for the folder's own; `device` as in
    embedder.loading.load_encoder. Nothing is downloaded. Raises ModelError if the folder, its weights, its image
    processor settings or the device cannot be used.
    """
    described = _described(folder)
    model = _load_network(described.transformer, torch_device(device))
    is_siglip = model.config.model_type == "siglip"
    positions = int(model.config.text_config.max_position_embeddings)
    max_tokens = token_limit(described.transformer, positions, described.max_tokens)
    definition, tokenizer = load_tokenizer(described.transformer, max_tokens, lowercase=described.lowercase)
    padding_id = _padding_id(described.transformer, tokenizer, int(model.config.text_config.pad_token_id or 0))
    images = read_image_settings(described.transformer, int(model.config.vision_config.image_size))
    probe = _probe_texts(tokenizer)
    # SigLIP was trained on texts padded to full length without a mask, and takes its vector from the last position.
    towers = Towers(model, padded_to=max_tokens if is_siglip else None, padding_id=padding_id, probe=probe)
    dimension = _dimension(folder, towers, probe[0])
    return VisionEncoder(
        name=name or described.name,
        towers=towers,
        tokenizer=tokenizer,
        images=images,
        prefixes=described.prefixes,
        dimension=dimension,
        matryoshka=described.matryoshka,
        fingerprint=fingerprint_of(
            described,
            weights_sha256(described.transformer),
            definition,
            max_tokens,
            dimension,
            images=json.dumps(asdict(images)),
            image_rules=str(RULES),
            padding=str(padding_id),
        ),
    )


def _described(folder: Path) -> ModelFolder:
    described = read_model_folder(folder)
    if described.dense:
        raise ModelError(f"{folder / 'modules.json'}: a Dense layer behind two towers is not supported")
    if described.cut is not None:
        raise ModelError(
            f"{folder / 'config_sentence_transformers.json'}: truncate_dim is not supported for images; remove it and "
            "ask for fewer dimensions instead"
        )
    tokenizer_class = str(json_object(described.transformer / "tokenizer_config.json").get("tokenizer_class"))
    return replace(described, lowercase=described.lowercase or tokenizer_class.startswith(_LOWERCASING))


def _load_network(folder: Path, device: torch.device) -> PreTrainedModel:
    kind = json_object(folder / "config.json").get("model_type")
    if kind not in ("clip", "siglip"):
        raise ModelError(
            f"{folder / 'config.json'}: model_type {kind} is not supported for images; supported are clip and siglip "
            "(of SigLIP 2 the models of a fixed resolution, which are siglip)"
        )
    model = load_pretrained(AutoModel, folder, device, lacking="both towers are needed")
    if kind == "siglip" and not model.config.vision_config.vision_use_head:
        raise ModelError(f"{folder / 'config.json'}: an image tower without its pooling head gives no vectors")
    return model


def _padding_id(folder: Path, tokenizer: TextTokenizer, default: int) -> int:
    """The id of the padding token: the tokenizer's, else the `default` of the text tower's configuration."""
    token = json_object(folder / "tokenizer_config.json").get("pad_token")
    content = token.get("content") if isinstance(token, dict) else token
    return tokenizer.vocabulary().get(str(content), default)


def _probe_texts(tokenizer: TextTokenizer) -> tuple[Int64Array, Int64Array]:
    """The token ids of two texts of the same length that differ in three tokens in the middle."""
    ids, others = probe_ids(len(tokenizer.vocabulary()))
    swapped = np.concatenate([ids[:2], others[:3], ids[5:]])
    prompts = [Prompt(items=(TokenIdsItem(ids=tuple(text.tolist())),)) for text in (ids, swapped)]
    first, second = tokenizer.tokenize(prompts)
    return first.ids, second.ids


def _dimension(folder: Path, towers: Towers, text: Int64Array) -> int:
    """The dimension of the space that both towers share. Raises ModelError if their dimensions differ."""
    of_texts = towers.texts([text]).shape[1]
    of_images = towers.images(torch.zeros((1, 3, towers.image_size, towers.image_size))).shape[1]
    if of_texts != of_images:
        raise ModelError(f"{folder}: texts get vectors of {of_texts} numbers and images of {of_images}: not one space")
    return int(of_texts)
