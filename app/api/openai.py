"""The embedding part of the OpenAI API, and reranking in the format of Cohere's API, for their public clients.

Each path is served with and without `/v1`, as clients are configured with either. The exception is `/models`, which
without `/v1` belongs to the Aleph Alpha API.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator, Field

from app.api.bodies import MAX_TOKEN_IDS, PublicModel, RawBody, parsed
from app.api.dependencies import Parts, RequestId
from app.wiring import Wiring
from core.errors import InvalidInput
from core.prompts import Prompt, TokenIdsItem
from core.protocols import Encoder
from core.records import Float32Array, Relevance, Representation
from embedder.kinds import ModelKind
from embedder.projection import compressed
from retriever.inputs import MAX_DIMENSIONS

MAX_INPUTS = 2048
MAX_DOCUMENTS = 1000
PATHS = ("/v1/embeddings", "/embeddings", "/v1/rerank", "/rerank")  # the ones that take a body
router = APIRouter(include_in_schema=False)  # documented by its authors; see docs/embedding-apis.md


class EmbeddingsRequest(PublicModel):
    model: str | None  # None: the main model
    input: Any  # text, token ids, or a list of either
    dimensions: Annotated[int, Field(ge=1, le=MAX_DIMENSIONS)] | None = None  # None: the model's own
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None  # ignored
    # Which side of a search the texts are on. An extension: OpenAI's models make no difference.
    representation: Literal["document", "query", "symmetric"] | None = None

    def to_prompts(self) -> list[Prompt]:
        """One prompt per input. Raises InvalidInput unless there are 1 to 2048 non-empty texts or token id lists."""
        given = self.input
        single = isinstance(given, str) or (isinstance(given, list) and bool(given) and type(given[0]) is int)
        inputs = [given] if single else given
        if not isinstance(inputs, list) or not inputs:
            raise InvalidInput("input: must be a text, a list of texts, token ids, or lists of them", param="input")
        if len(inputs) > MAX_INPUTS:
            raise InvalidInput(f"input: {len(inputs)} are more than {MAX_INPUTS} at once", param="input")
        return [_prompt(each, "input" if single else f"input[{place}]") for place, each in enumerate(inputs)]


def _text_of(document: Any) -> Any:
    """The text of a document, which may also be given as `{"text": ...}`."""
    return document.get("text") if isinstance(document, dict) else document


class RerankRequest(PublicModel):
    query: str
    documents: Annotated[
        list[Annotated[str, Field(min_length=1), BeforeValidator(_text_of)]],
        Field(min_length=1, max_length=MAX_DOCUMENTS, fail_fast=True),
    ]
    model: str | None = None  # None: the first cross-encoder of the settings, or else the main model
    top_n: Annotated[int, Field(ge=1)] | None = None  # None: all
    return_documents: bool | None = None  # None: false


@router.post("/v1/embeddings")
@router.post("/embeddings")
def embeddings(parts: Parts, body: RawBody) -> JSONResponse:
    """Embed texts as unit vectors. A text longer than the model reads is cut; `truncated_inputs` lists the index."""
    asked = parsed(EmbeddingsRequest, body)
    prompts = asked.to_prompts()
    model = parts.models.main if asked.model is None else parts.models.resolve(asked.model)
    encoder = parts.models.encoder(model)
    if asked.dimensions is not None:
        encoder = _of_size(parts, encoder, asked.dimensions)
    try:
        made = encoder.encode(prompts, Representation(asked.representation or Representation.SYMMETRIC))
    except InvalidInput as error:  # such as a token id outside the vocabulary; models know no field of this API
        place = "input" if error.index is None or len(prompts) == 1 else f"input[{error.index}]"
        raise error.at(place, param="input") from error
    vectors = _base64(made.vectors) if asked.encoding_format == "base64" else made.vectors.tolist()
    tokens = int(made.token_counts.sum())
    answer: dict[str, Any] = {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    if made.truncated.any():
        answer["truncated_inputs"] = np.flatnonzero(made.truncated).tolist()
    return JSONResponse(answer)


@router.post("/v1/rerank")
@router.post("/rerank")
def rerank(parts: Parts, request_id: RequestId, body: RawBody) -> JSONResponse:
    """Rank documents by relevance, best first: by a cross-encoder's score (0 to 1) or an encoder's cosine (-1 to 1).

    Long texts are cut, as in /v1/embeddings; `truncated_documents` has the indices of the documents that were cut, or
    were read together with a query that was cut.
    """
    asked = parsed(RerankRequest, body)
    documents = asked.documents
    model = _default_reranker(parts) if asked.model is None else asked.model
    judged = _relevance(parts, model, asked.query, documents)
    scores, tokens = judged.scores.tolist(), int(judged.token_counts.sum())
    order = sorted(range(len(documents)), key=lambda place: -scores[place])[: asked.top_n]  # ties keep their order
    results: list[dict[str, Any]] = [{"index": place, "relevance_score": scores[place]} for place in order]
    if asked.return_documents:
        results = [{**result, "document": {"text": documents[result["index"]]}} for result in results]
    usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
    answer: dict[str, Any] = {"id": request_id, "results": results, "usage": usage}
    if judged.truncated.any():
        answer["truncated_documents"] = np.flatnonzero(judged.truncated).tolist()
    return JSONResponse(answer)


@router.get("/v1/models")
def list_models(parts: Parts) -> JSONResponse:
    """Every model in the settings, under its name and its aliases."""
    return JSONResponse({"object": "list", "data": [_model(name) for name in _model_names(parts)]})


@router.get("/v1/models/{name:path}")  # the client escapes a slash in a name, but paths are matched unescaped
def get_model(parts: Parts, name: str) -> JSONResponse:
    parts.models.resolve(name)
    return JSONResponse(_model(name))


def _prompt(given: Any, place: str) -> Prompt:
    if isinstance(given, str) and given:
        return Prompt.of(given)
    if isinstance(given, list) and len(given) > MAX_TOKEN_IDS:
        raise InvalidInput(f"{place}: {len(given)} token ids are more than {MAX_TOKEN_IDS}", param="input")
    if isinstance(given, list) and given and all(type(id) is int for id in given):
        return Prompt(items=(TokenIdsItem(ids=tuple(given)),))
    raise InvalidInput(f"{place}: must be a text or a list of token ids, and not be empty", param="input")


def _of_size(parts: Wiring, encoder: Encoder, dimensions: int) -> Encoder:
    """The encoder, compressed to `dimensions`. Raises InvalidInput, which lists the available sizes."""
    try:
        return compressed(encoder, dimensions, fitted=parts.models.fitted_projections)
    except InvalidInput as error:
        raise InvalidInput(error.message, param="dimensions") from error


def _base64(vectors: Float32Array) -> list[str]:
    """Each vector as base64 of little-endian float32."""
    return [base64.b64encode(vector.astype("<f4").tobytes()).decode() for vector in vectors]


def _relevance(parts: Wiring, model: str, query: str, documents: list[str]) -> Relevance:
    """The relevance of each document. An encoder reads the query once: its tokens count with the first document's.

    Raises InvalidInput if the query is empty or only white space.
    """
    if not query.strip():
        raise InvalidInput("query: is empty: give a text to judge the documents by", param="query")
    if parts.models.kind(model) is ModelKind.RERANKER:
        return parts.models.reranker(model).rerank(query, documents)
    encoder = parts.models.encoder(model)
    asked = encoder.encode([Prompt.of(query)], Representation.QUERY)
    read = encoder.encode([Prompt.of(document) for document in documents], Representation.DOCUMENT)
    counts = read.token_counts.copy()
    counts[0] += asked.token_counts[0]
    cosines = np.clip(np.vecdot(read.vectors, asked.vectors[0]).astype(np.float64), -1, 1)  # rounding may exceed 1
    return Relevance(scores=cosines, token_counts=counts, truncated=read.truncated | asked.truncated)


def _default_reranker(parts: Wiring) -> str:
    return next(parts.models.rerankers, parts.models.main)


def _model_names(parts: Wiring) -> list[str]:
    return [*parts.models.names, *parts.settings.aliases]


def _model(name: str) -> dict[str, Any]:
    created = 0  # seconds since 1970; unknown, but the client's type requires a number
    return {"id": name, "object": "model", "created": created, "owned_by": "salience"}
