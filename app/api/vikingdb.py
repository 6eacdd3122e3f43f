"""The VikingDB embedding API, version 2, for its public clients.

Where the example in its documentation and its SDK disagree, this follows the SDK, which is what calls: vectors are
under `data`, not at the top level of the answer. The documentation gives no status for a body over 4 MB; here it is a
413 with the code of an invalid request.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from app.access.caller import ANONYMOUS, SIGNED, Caller
from app.api.bodies import PublicModel, RawBody, parsed, placed
from app.api.dependencies import Known, Parts, RequestId
from app.schemas.base64data import decoded_base64
from app.viking import VikingModel
from app.wiring import Wiring
from core.errors import InvalidInput
from core.prompts import ImageItem, Prompt, PromptItem, TextItem

MAX_ITEMS = 100
MAX_BODY_BYTES = 4 * 2**20
PING, EMBEDDING = PATHS = ("/api/viking_db/data/ping", "/api/data/embedding/version/2")


router = APIRouter(include_in_schema=False)  # documented by its authors; see docs/embedding-apis.md


class EmbeddingParams(PublicModel):
    """What to return; None is the default for the model."""

    return_dense: bool | None = None  # None: true
    return_sparse: bool | None = None  # None: whether the model gives sparse vectors
    return_token_usage: bool | None = None  # None: false


class RequestedModel(PublicModel):
    model_name: str
    params: EmbeddingParams | None = None


class DataItem(PublicModel):
    data_type: Literal["text", "image", "text-image"]
    text: str | None = None
    image: str | None = None  # base64

    def to_prompt(self, place: str) -> Prompt:
        """Raises InvalidInput if a part that the type names is missing or empty. Other parts are ignored."""
        items: list[PromptItem] = []
        if "image" in self.data_type:
            items.append(ImageItem(data=decoded_base64(self._required(self.image, place, "image"), f"{place}.image")))
        if "text" in self.data_type:
            items.append(TextItem(text=self._required(self.text, place, "text")))
        return Prompt(items=tuple(items))

    def _required(self, value: str | None, place: str, part: str) -> str:
        if not value:
            problem = f"{place}.{part}: must be given, and not be empty, where data_type is {self.data_type}"
            raise InvalidInput(problem, param=f"{place}.{part}")
        return value


class EmbeddingRequest(PublicModel):
    model: RequestedModel
    data: Annotated[list[DataItem], Field(min_length=1, max_length=MAX_ITEMS, fail_fast=True)]


@router.get(PING)
def ping(parts: Parts, caller: Known, request: Request, request_id: RequestId, body: RawBody) -> JSONResponse:
    """The SDK's first request: checks that this is the service and that its keys are accepted."""
    _account(parts, caller, request, body)
    return _success(request_id, {})


@router.api_route(EMBEDDING, methods=["GET", "POST"])
def embedding(parts: Parts, caller: Known, request: Request, request_id: RequestId, body: RawBody) -> JSONResponse:
    """Embed texts and images as dense and sparse vectors. The quota is charged before the model runs.

    Texts longer than the model reads are cut silently, as in the original API.
    """
    account = _account(parts, caller, request, body)
    asked = parsed(EmbeddingRequest, body)
    model = parts.viking.find(asked.model.model_name)
    params = asked.model.params or EmbeddingParams()
    dense, sparse = _wanted(params, model)
    places = [f"data[{index}]" for index in range(len(asked.data))]
    prompts = [item.to_prompt(place) for item, place in zip(asked.data, places, strict=True)]
    tokens = parts.viking.tokens(model, prompts)
    with parts.viking_quota.charged(account, model.name, tokens), placed(places):
        made = parts.viking.embed(model, prompts, dense=dense, sparse=sparse)
    data: dict[str, Any] = {}
    if made.dense is not None:
        data["sentence_dense_embedding"] = made.dense.tolist()
    if made.sparse is not None:
        data["sentence_sparse_embedding"] = made.sparse
    if params.return_token_usage:
        data["token_usage"] = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
    return _success(request_id, {"data": data})


def _account(parts: Wiring, caller: Caller, request: Request, body: bytes) -> str:
    """The account whose quota is charged. Raises InvalidSignature if it must be signed and is not."""
    return parts.signatures.account(request, body) if caller in (SIGNED, ANONYMOUS) else caller.account


def _wanted(params: EmbeddingParams, model: VikingModel) -> tuple[bool, bool]:
    """Whether to make dense vectors, and whether to make sparse ones.

    Raises InvalidInput for neither, and for sparse vectors of a model that has none.
    """
    dense = params.return_dense is not False
    sparse = model.gives_sparse if params.return_sparse is None else params.return_sparse
    if sparse and not model.gives_sparse:
        raise InvalidInput(f"return_sparse: model {model.name} has no sparse vectors", param="return_sparse")
    if not (dense or sparse):
        raise InvalidInput("return_dense and return_sparse: one of them must be on", param="return_dense")
    return dense, sparse


def _success(request_id: str, more: dict[str, Any]) -> JSONResponse:
    return JSONResponse({"code": 0, "message": "success", "request_id": request_id, **more})
