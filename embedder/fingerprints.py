"""Fingerprints of models: two that have the same one give the same output for every input."""

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
    """As `network_fingerprint`, of a network whose output is made into one vector."""
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
    """sha256 (hex, first 32 digits) over everything that an output depends on; `others` are facts of one kind alone.

    `weights`: sha256 of them; `tokenizer`: the text of its tokenizer.json.
    """
    facts = {
        "weights": weights,
        "network": network_facts(folder),
        "tokenizer": hashlib.sha256(tokenizer.encode("utf-8")).hexdigest(),
        "max_tokens": max_tokens,
        **others,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode("utf-8")).hexdigest()[:32]
