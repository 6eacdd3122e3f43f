"""Base classes for the request and response bodies of the Aleph Alpha API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, model_validator

from app.api.bodies import PublicModel, RawBody
from core.errors import InvalidInput
from core.prompts import ControlOptions


class Part(PublicModel):
    """A JSON object in which null means absent: the clients send null for optional fields that are not set."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value


class Body(Part):
    """A request. `tags` and other unknown fields are accepted and ignored."""

    hosting: Literal["aleph-alpha"] | None = None  # which data centres may answer; here there is only one server


class SteeredBody(Body):
    """A request whose prompt may contain controls."""

    contextual_control_threshold: float | None = None
    control_log_additive: bool = True

    def options(self) -> ControlOptions:
        """How the controls are applied. Raises InvalidControl.

        The controls' target is `auto`. The public documentation only mentions the attention, but steering that alone
        backfires above a factor of 2, and leaves a suppressed word in the mean. `both` is refused for a model whose
        attention or pool takes no factor, while `auto` uses what the model has, and it steers best (docs/steering.md).
        In the example of the public documentation, play^7, the console leads the television by 0.227 unsteered, 0.242
        with attention, 0.260 with both and 0.280 with auto.
        """
        return ControlOptions(
            contextual_threshold=self.contextual_control_threshold, log_additive=self.control_log_additive
        )


class Answer(BaseModel):
    """A response. Raises ValidationError for NaN and infinity."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    model_version: str  # changes whenever the model's vectors or texts might change


async def _json(request: Request, body: RawBody) -> bytes:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise InvalidInput("the body must be JSON, sent with the header Content-Type: application/json")
    return body


JsonBody = Annotated[bytes, Depends(_json)]
