"""Where the positions of a network begin: some count from behind the index of their padding token."""

from __future__ import annotations

_PADDED = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer", "data2vec-text")
_MPNET_PADDING = 1  # whatever its config.json says: transformers has it so


def first_position(network: str, padding: int) -> int:
    """`network`: its `model_type` in transformers. `padding`: the id of its padding token."""
    if network not in _PADDED:
        return 0
    return (_MPNET_PADDING if network == "mpnet" else padding) + 1
