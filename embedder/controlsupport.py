"""Which controls (on attention, on pooling) a model supports, and the error for those that it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from core.errors import InvalidControl
from core.prompts import ControlTarget


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlSupport:
    """Which controls a model supports."""

    attention: bool
    pool: bool
    reason: str  # why one of them is not supported; empty if both are

    @classmethod
    def of(cls, attention_problem: str, pool_problem: str) -> Self:
        """From the reasons why factors cannot act on the attention and on the pooling; empty if they can."""
        problems = (attention_problem, pool_problem)
        return cls(
            attention=not attention_problem,
            pool=not pool_problem,
            reason="; ".join(problem for problem in problems if problem),
        )

    def check(self, target: ControlTarget, model: str, side: str = "") -> None:
        """Raise InvalidControl if controls on `target` are not supported. `side`: part of the model, " for images"."""
        wanted = {
            ControlTarget.AUTO: self.attention or self.pool,
            ControlTarget.ATTENTION: self.attention,
            ControlTarget.POOL: self.pool,
            ControlTarget.BOTH: self.attention and self.pool,
        }
        if not wanted[target]:
            raise InvalidControl(
                f"model {model} does not take controls on {target.value}{side}: {self.reason}", param="control_target"
            )
