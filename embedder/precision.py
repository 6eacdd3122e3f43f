"""The numeric precisions that a network can be computed in."""

from __future__ import annotations

from enum import StrEnum

from core.errors import ModelError


class Precision(StrEnum):
    """The precision of a network's computations."""

    AUTO = "auto"  # bf16 if the hardware supports it, else fp32
    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"  # weights and activations of the matrix products in int8; the rest as with auto


def parse_precision(value: str) -> Precision:
    """The precision of that name. Raises ModelError that lists the allowed ones."""
    try:
        return Precision(value)
    except ValueError as error:
        raise ModelError(f"precision {value!r} is unknown: allowed are {', '.join(Precision)}") from error
