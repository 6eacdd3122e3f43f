"""/version, /models_available, and the removed endpoints /qa and /summarize."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse

from app.api.aleph_alpha.embed import COMPRESSED_SIZE, EMBEDDING_TYPES
from app.api.dependencies import Parts
from app.errors import Gone
from app.wiring import Wiring
from core.errors import ModelError
from embedder.kinds import ModelKind

router = APIRouter()

API_VERSION = "1.19.0"  # the clients refuse an older one
_NO_ENCODERS = (ModelKind.SPARSE, ModelKind.RERANKER)


@router.get("/version")
def version() -> PlainTextResponse:
    """The version of this API, as plain text."""
    return PlainTextResponse(API_VERSION)


@router.get("/models_available")
def models_available(parts: Parts) -> JSONResponse:
    """Every model that embeds or completes, under each of its names. Loads the models that are not loaded yet."""
    found = [entry for name in parts.models.names for entry in _entries(parts, name)]
    stand_in = f"for the VikingDB API only: no model is bound to this name, so {parts.models.main} stands in for it"
    return JSONResponse(found + [_entry(name, stand_in) for name in parts.viking.fallback_names])


@router.post("/qa")
@router.post("/summarize")
def gone() -> None:
    """Answers Gone: the clients themselves deprecate these endpoints, and they were never offered here."""
    raise Gone(
        "/qa and /summarize are gone: find passages by /v1/collections/{collection}/search, and give them to /complete "
        "of a causal language model"
    )


def _entries(parts: Wiring, name: str) -> list[dict[str, object]]:
    """An entry for the model's name and one for each alias; none for a model that neither embeds nor completes."""
    models = parts.models
    try:
        described = models.describe(name)
        if described.kind in _NO_ENCODERS:
            return []
        completes = described.kind is ModelKind.CAUSAL
        context = (models.causal_model(name) if completes else models.encoder(name)).max_tokens
        types = [] if completes else _embedding_types(parts, name)
    except ModelError as error:
        return [_entry(name, f"cannot be used: {error.message}")]
    what = f"{described.kind.value} model"
    names = {name: what, **dict.fromkeys(described.aliases, f"other name of {name}, a {what}")}
    images = described.kind is ModelKind.VISION
    return [
        _entry(each, description, context=context, types=types, images=images, completion=completes)
        for each, description in names.items()
    ]


def _embedding_types(parts: Wiring, name: str) -> list[str]:
    """The types, also with the suffix `_128` if `compress_to_size` works. For a remote model, its settings decide."""
    settings = parts.models.describe(name).settings
    compressible = settings.dimension == COMPRESSED_SIZE
    if settings.api is None:
        from embedder.projection import sizes  # torch takes seconds to import

        compressible = COMPRESSED_SIZE in sizes(parts.models.encoder(name), fitted=parts.models.fitted_projections)
    return [*EMBEDDING_TYPES, *(f"{kind}_{COMPRESSED_SIZE}" for kind in EMBEDDING_TYPES if compressible)]


def _entry(
    name: str,
    description: str,
    *,
    context: int = 0,
    types: Sequence[str] = (),
    images: bool = False,
    completion: bool = False,
) -> dict[str, object]:
    return {
        "name": name,
        "description": description,
        "max_context_size": context,  # tokens, including special ones
        "hostings": ["aleph-alpha"],
        "image_support": images,
        "qa_support": False,
        "summarization_support": False,
        "embedding_types": list(types),
        "maximum_completion_tokens": context if completion else 0,
        "aligned": False,
    }
