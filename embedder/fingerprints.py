"""Fingerprints of models: two models with the same fingerprint give the same output for every input."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from embedder.modelfolder import ModelFolder, network_facts, weights_sha256


def fingerprint_of(
    described: ModelFolder,
    weights: str,
    tokenizer: str,
    max_tokens: int,
    dimension: int,
    **others: str,
) -> str:
    """The `network_fingerprint` of a model whose output is one vector, including its pooling and dense layers."""
    return network_fingerprint(
        described.transformer,
        weights,
        tokenizer,
        max_tokens,
        dense=[
            {**{k: v for k, v in asdict(config).items() if k != "folder"}, "weights": weights_sha256(config.folder)}
            for config in described.dense
        ],
        lowercase=described.lowercase,
        pooling=described.pooling,
        pool_prefix=described.pool_prefix,
        prefixes=dict(described.prefixes),
        dimension=dimension,
        **others,
    )


def network_fingerprint(folder: Path, weights: str, tokenizer: str, max_tokens: int, **others: object) -> str:
    """sha256 (the first 32 hex digits) over everything that an output depends on.

    `weights`: their sha256; `tokenizer`: the text of the tokenizer.json; `others`: facts that only some kinds of models
    have.
    """
    facts = {
        "weights": weights,
        "network": network_facts(folder),
        "tokenizer": hashlib.sha256(tokenizer.encode("utf-8")).hexdigest(),
        "max_tokens": max_tokens,
        **others,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode("utf-8")).hexdigest()[:32]
