"""What every body of the Aleph Alpha API has in common."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, model_validator

from app.api.bodies import PublicModel, RawBody
from core.errors import InvalidInput
from core.prompts import ControlOptions


class Part(PublicModel):
    """A JSON object of which an explicit null means absent: the clients send their optional fields so."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value


class Body(Part):
    """A request. `tags`, and whatever else is unknown, may come along."""

    hosting: Literal["aleph-alpha"] | None = None  # which data centres may answer: here there is one server


class SteeredBody(Body):
    """A request whose prompt may carry controls."""

    contextual_control_threshold: float | None = None
    control_log_additive: bool = True

    def options(self) -> ControlOptions:
        """Raises InvalidControl.

        The controls' target is `auto`. The public documents speak of the attention alone, but that backfires above a
        factor of 2, and leaves a suppressed word in the mean. `both` is refused where a model's attention or its pool
        takes no factor, while `auto` uses what there is; and it steers best (docs/steering.md). In the example of the
        public documents, play^7, the console leads the television by 0.227 unsteered, 0.242 by attention, 0.260 by
        both and 0.280 by auto.
        """
        return ControlOptions(
            contextual_threshold=self.contextual_control_threshold, log_additive=self.control_log_additive
        )


class Answer(BaseModel):
    """Raises ValidationError for NaN and infinity."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    model_version: str  # changes whenever the model's vectors or texts could


async def _json(request: Request, body: RawBody) -> bytes:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise InvalidInput("the body must be JSON, sent with the header Content-Type: application/json")
    return body


JsonBody = Annotated[bytes, Depends(_json)]
