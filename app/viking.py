"""Maps the model names of the VikingDB API to encoders, and embeds texts and images with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

import numpy as np
import structlog

from app.models import Models
from app.settings import VikingBinding, VikingSettings
from core.errors import InvalidInput, InvalidSettings, ModelNotFound, NotFound
from core.prompts import ImageItem, Prompt, TextItem
from core.records import (
    CollectionSettings,
    Embeddings,
    Float32Array,
    Float64Array,
    Representation,
    SparseEmbeddings,
    SparseVector,
)
from embedder.beginning import beginning
from embedder.kinds import DENSE_KINDS, SPARSE_KINDS, ModelKind
from store import bm25

if TYPE_CHECKING:
    from core.protocols import Encoder, HybridEncoder, SparseEncoder
    from embedder.lexical import Analyzer

# The published names: whether the model gives sparse vectors, and whether it reads images.
NAMES: Mapping[str, tuple[bool, bool]] = {
    "bge-large-zh": (False, False),
    "bge-m3": (True, False),
    "bge-large-zh-and-m3": (True, False),
    "bge-visualized-m3": (False, True),
}
_APIS_WITH_IMAGES = ("aleph_alpha", "vikingdb")
# The API does not distinguish queries from documents, and its models have no prompts: both are embedded alike.
_REPRESENTATION = Representation.SYMMETRIC
_log = structlog.get_logger("salience.vikingdb")


@runtime_checkable
class _CountsImages(Protocol):
    """An encoder that knows how many tokens an image counts as."""

    @property
    def image_tokens(self) -> int: ...


class InputNotTaken(NotFound):
    """The model does not take input of this kind."""

    code = "input_not_taken"


@dataclass(frozen=True, kw_only=True, slots=True)
class VikingModel:
    """One of the API's model names, and the models that serve it."""

    name: str
    dense: str  # a name of Models
    sparse: str | None  # a name of Models; None: the text's own terms, weighted without a collection
    gives_sparse: bool
    reads_images: bool
    fallback: bool  # served by the main model because nothing is bound to the name


@dataclass(frozen=True, kw_only=True, slots=True)
class VikingEmbedding:
    """The embeddings of a request's items, in their order."""

    dense: Float32Array | None  # (items, dimension), unit length
    sparse: tuple[dict[str, float], ...] | None  # weights above 0 by token


class VikingModels:
    """The VikingDB model names that are served here. Thread-safe."""

    def __init__(self, settings: VikingSettings, models: Models, analyzer: Analyzer) -> None:
        """Loads no model. Raises InvalidSettings for a name that the API lacks, and for a model of the wrong kind."""
        self._models = models
        self._analyzer = analyzer
        unknown = [name for name in settings.models if name not in NAMES]
        if unknown:
            raise InvalidSettings(f"vikingdb.models: {unknown[0]!r} is no model of that API; it has {', '.join(NAMES)}")
        self._served = {name: self._bound(name, binding) for name, binding in settings.models.items()}
        if settings.fallback:
            unbound = [name for name in NAMES if name not in self._served]
            self._served |= {name: self._model(name, models.main, None, fallback=True) for name in unbound}

    @property
    def fallback_names(self) -> tuple[str, ...]:
        """The names that the main model serves because nothing is bound to them."""
        return tuple(model.name for model in self._served.values() if model.fallback)

    def find(self, name: str) -> VikingModel:
        """Return the model of this name. Raises ModelNotFound, which lists the names that are served here."""
        if name in self._served:
            return self._served[name]
        served = ", ".join(self._served) or "none of that API's models"
        problem = f"model not found: {name!r:.80}; served here: {served}"
        if name in NAMES:
            problem += f"; bind it in the settings under vikingdb.models.{name}, or set vikingdb.fallback"
        raise ModelNotFound(problem, param="model_name")

    def announce(self) -> None:
        """Log a warning with the names that the main model serves as a fallback."""
        if self.fallback_names:
            names, model = list(self.fallback_names), self._models.encoder().name
            _log.warning("names of the VikingDB API are served by the main model", names=names, model=model)

    def tokens(self, model: VikingModel, prompts: Sequence[Prompt]) -> int:
        """Return how many tokens of the prompts the model will read, special tokens included.

        Raises InputNotTaken for an image if the model reads none.
        """
        encoder = self._models.encoder(model.dense)
        return sum(self._prompt_tokens(model, encoder, prompt) for prompt in prompts)

    def embed(self, model: VikingModel, prompts: Sequence[Prompt], *, dense: bool, sparse: bool) -> VikingEmbedding:
        """Compute dense and sparse vectors as requested, in one forward pass if one model makes both.

        Texts longer than the model reads are truncated; their number is logged. Raises InvalidInput, RemoteError.
        """
        made: Embeddings | SparseEmbeddings | None = None
        vectors = weights = None
        if dense and sparse and model.sparse == model.dense:
            hybrid = cast("HybridEncoder", self._models.encoder(model.dense))
            made, terms = hybrid.encode_hybrid(prompts, _REPRESENTATION)
            vectors, weights = made.vectors, _named(hybrid, terms.vectors)
        else:
            if sparse and model.sparse is not None:
                encoder = self._models.sparse_encoder(model.sparse)
                made = encoder.encode_sparse(prompts, _REPRESENTATION)
                weights = _named(encoder, made.vectors)
            elif sparse:
                weights = tuple(self._term_weights(prompt) for prompt in prompts)
            if dense:
                made = self._models.encoder(model.dense).encode(prompts, _REPRESENTATION)
                vectors = made.vectors
        truncated = 0 if made is None else int(made.truncated.sum())
        _log.info("embedded", model=model.name, items=len(prompts), truncated=truncated)
        return VikingEmbedding(dense=vectors, sparse=weights)

    def _bound(self, name: str, binding: VikingBinding) -> VikingModel:
        if binding.dense is None:
            raise InvalidSettings(f"vikingdb.models.{name}: name the model that makes its dense vectors (dense)")
        if binding.sparse is not None and not NAMES[name][0]:
            others = ", ".join(other for other, (gives_sparse, _) in NAMES.items() if gives_sparse)
            raise InvalidSettings(f"vikingdb.models.{name}.sparse: that model has no sparse vectors; {others} have")
        return self._model(name, binding.dense, binding.sparse, fallback=False)

    def _model(self, name: str, dense: str, sparse: str | None, *, fallback: bool) -> VikingModel:
        gives_sparse, reads_images = NAMES[name]
        chosen, kind = self._checked(name, "dense", dense, DENSE_KINDS)
        if sparse is not None:
            sparse = self._checked(name, "sparse", sparse, SPARSE_KINDS)[0]
        elif gives_sparse and kind is ModelKind.HYBRID:
            sparse = chosen
        sees = kind is ModelKind.VISION or self._models.describe(chosen).settings.api in _APIS_WITH_IMAGES
        return VikingModel(
            name=name,
            dense=chosen,
            sparse=sparse,
            gives_sparse=gives_sparse,
            reads_images=reads_images and sees,
            fallback=fallback,
        )

    def _checked(self, name: str, side: str, model: str, kinds: tuple[ModelKind, ...]) -> tuple[str, ModelKind]:
        """Return the resolved name of the model and its kind. Raises InvalidSettings unless the kind is in `kinds`."""
        try:
            chosen = self._models.resolve(model)
        except ModelNotFound as error:
            raise InvalidSettings(f"vikingdb.models.{name}.{side}: {error.message}") from error
        kind = self._models.describe(chosen).kind
        if kind not in kinds:
            allowed = " or ".join(kind.value for kind in kinds)
            raise InvalidSettings(f"vikingdb.models.{name}.{side}: {model} is a {kind.value} model; give {allowed}")
        return chosen, kind

    def _prompt_tokens(self, model: VikingModel, encoder: Encoder, prompt: Prompt) -> int:
        texts = [item.text for item in prompt.items if isinstance(item, TextItem)]
        images = sum(isinstance(item, ImageItem) for item in prompt.items)
        if images and not model.reads_images:
            raise InputNotTaken(f"model {model.name} takes no images here: send data_type text", param="data")
        own = sum(_tokens_up_to(encoder, text) for text in texts) + encoder.overhead(_REPRESENTATION)
        each = encoder.image_tokens if isinstance(encoder, _CountsImages) else encoder.max_tokens  # remote: unknown
        return (min(encoder.max_tokens, own) if texts else 0) + images * each

    def _term_weights(self, prompt: Prompt) -> dict[str, float]:
        """Return BM25 weights in (0, 1) by term, without the factors that need a collection.

        tf / (tf + k1), the retriever's own formula with its default k1, without idf or length normalization (b = 0).
        """
        text = "\n".join(item.text for item in prompt.items if isinstance(item, TextItem))
        counts = self._analyzer.term_frequencies(text)
        frequencies: Float32Array = np.array(list(counts.values()), dtype=np.float32)
        lengths: Float64Array = np.full(len(counts), float(counts.total()))
        saturations = bm25.saturation(lengths, 1.0, k1=CollectionSettings().k1, b=0.0)
        return dict(zip(counts, bm25.weights(frequencies, saturations).tolist(), strict=True))


def _tokens_up_to(encoder: Encoder, text: str) -> int:
    """Count the tokens of a text; for a text longer than the encoder reads, some number greater than its maximum."""

    def count(part: str) -> int:
        return len(encoder.token_spans(part))

    return count(beginning(text, encoder.max_tokens, count))


def _named(encoder: SparseEncoder, vectors: Sequence[SparseVector]) -> tuple[dict[str, float], ...]:
    """Return the weights of each vector by the vocabulary's names of its tokens."""
    return tuple(
        {_token(encoder, int(id)): float(weight) for id, weight in zip(vector.ids, vector.weights, strict=True)}
        for vector in vectors
    )


def _token(encoder: SparseEncoder, id: int) -> str:
    """Return the name of a token, or `#id`: networks can have more outputs than their tokenizer has names."""
    try:
        return encoder.token(id)
    except InvalidInput:
        return f"#{id}"
