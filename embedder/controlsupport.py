"""Which attention controls act on a model, and the refusal of those that do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from core.errors import InvalidControl
from core.prompts import ControlTarget


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlSupport:
    """Which controls act on a model."""

    attention: bool
    pool: bool
    reason: str  # why one of them does not act; empty where both do

    @classmethod
    def of(cls, attention_problem: str, pool_problem: str) -> Self:
        """From the reasons why factors cannot act on the attention and on the pool; empty where they can."""
        problems = (attention_problem, pool_problem)
        return cls(
            attention=not attention_problem,
            pool=not pool_problem,
            reason="; ".join(problem for problem in problems if problem),
        )

    def check(self, target: ControlTarget, model: str, side: str = "") -> None:
        """Raises InvalidControl where controls on `target` do not act. `side`: the part of the model, " for images"."""
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
