"""/tokenize, /detokenize and a model's tokenizer: converts text to token ids and back, without special tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, FailFast, Field

from app.api.aleph_alpha.bodies import Body, JsonBody
from app.api.aleph_alpha.names import tokenizer_of
from app.api.bodies import MAX_TOKEN_IDS, parsed
from app.api.dependencies import Parts

MAX_CHARACTERS = 1_000_000  # of a text to tokenize, which takes some 300 bytes of memory for each
router = APIRouter()


class TokenizeRequest(Body):
    model: str
    prompt: Annotated[str, Field(max_length=MAX_CHARACTERS)]
    tokens: bool = False
    token_ids: bool = False


class DetokenizeRequest(Body):
    model: str
    token_ids: Annotated[list[int], FailFast(), Field(max_length=MAX_TOKEN_IDS)]


class Detokenized(BaseModel):
    result: str


@router.post("/tokenize")
def tokenize(parts: Parts, body: JsonBody) -> JSONResponse:
    """The `tokens`, `token_ids`, both or neither, as asked. The whole text is tokenized, even if a model reads less."""
    asked = parsed(TokenizeRequest, body)
    tokenizer = tokenizer_of(parts.models, asked.model)
    ids = tokenizer.ids(asked.prompt)
    found: dict[str, object] = {}
    if asked.tokens:
        found["tokens"] = tokenizer.tokens(ids)
    if asked.token_ids:
        found["token_ids"] = ids
    return JSONResponse(found)


@router.post("/detokenize")
def detokenize(parts: Parts, body: JsonBody) -> Detokenized:
    """The text of a list of token ids."""
    asked = parsed(DetokenizeRequest, body)
    return Detokenized(result=tokenizer_of(parts.models, asked.model).text(asked.token_ids))


@router.get("/models/{model:path}/tokenizer")  # clients do not escape a slash in a name
def tokenizer(parts: Parts, model: str) -> Response:
    """The `tokenizer.json`, which gives the same results as /tokenize and /detokenize."""
    return Response(tokenizer_of(parts.models, model).definition(), media_type="application/json")
