"""In which numbers a network is computed."""

from __future__ import annotations

from enum import StrEnum

from core.errors import ModelError


class Precision(StrEnum):
    AUTO = "auto"  # bf16 where the hardware has it, fp32 elsewhere
    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"  # weights and activations of the matrix products; the rest as with auto


def parse_precision(value: str) -> Precision:
    """Raises ModelError that lists what is allowed."""
    try:
        return Precision(value)
    except ValueError as error:
        raise ModelError(f"precision {value!r} is unknown: allowed are {', '.join(Precision)}") from error
