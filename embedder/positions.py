"""The first position index of a network: some networks count positions from the index after their padding token's."""

from __future__ import annotations

_PADDED = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer", "data2vec-text")
_MPNET_PADDING = 1  # fixed in transformers, whatever the config.json says


def first_position(network: str, padding: int) -> int:
    """The index of the first position.

    `network`: its `model_type` in transformers. `padding`: the id of its padding token.
    """
    if network not in _PADDED:
        return 0
    return (_MPNET_PADDING if network == "mpnet" else padding) + 1
