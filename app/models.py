"""The models that the settings name, each loaded once, when it is first asked for."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from app.model_settings import ModelSettings
from app.settings import Settings
from core.errors import InvalidInput, ModelNotFound
from embedder.kinds import DEFAULT_MODEL, ModelKind, model_folder, model_kind

if TYPE_CHECKING:
    from core.protocols import Encoder, Reranker, SparseEncoder
    from embedder.loading import Model

LUMINOUS = "luminous-base"  # what clients of the Aleph Alpha API ask for: the main model, unless it is configured
_DENSE = (ModelKind.DENSE, ModelKind.HYBRID, ModelKind.VISION)
_SPARSE = (ModelKind.SPARSE, ModelKind.HYBRID)


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedModel:
    """One entry of the list of models."""

    name: str
    settings: ModelSettings
    kind: ModelKind
    aliases: tuple[str, ...]


class Models:
    """Thread-safe."""

    def __init__(self, settings: Settings, *, encoder: Encoder | None = None) -> None:
        """`encoder` takes the place of the main model that the settings name."""
        self._settings = settings
        self._entries = dict(settings.models)
        self._entries.setdefault(DEFAULT_MODEL, ModelSettings(folder=Path(DEFAULT_MODEL)))
        self.main = settings.model
        if self.main not in self._entries:  # the path of a folder
            folder = Path(self.main)
            self.main = folder.resolve().name or DEFAULT_MODEL
            self._entries[self.main] = ModelSettings(folder=folder)
        self._loaded: dict[str, Model] = {}
        if encoder is not None:
            self._loaded[self.main] = encoder
        self._locks = {name: threading.Lock() for name in self._entries}

    @property
    def names(self) -> tuple[str, ...]:
        """Of every model, the main one first; without aliases."""
        return (self.main, *(name for name in self._entries if name != self.main))

    def resolve(self, name: str) -> str:
        """The model that a name or alias stands for. Raises ModelNotFound, which lists what there is."""
        target = self._settings.aliases.get(name, name)
        if target in self._entries:
            return target
        if name == LUMINOUS:
            return self.main
        known = ", ".join(sorted({*self._entries, *self._settings.aliases, LUMINOUS}))
        raise ModelNotFound(f"there is no model {name!r} here; there are {known}", param="model")

    def describe(self, name: str) -> NamedModel:
        """What the settings and the folder say of a model, without loading it. Raises ModelNotFound, ModelError."""
        name = self.resolve(name)
        settings = self._entries[name]
        if settings.folder is not None:
            kind = ModelKind(settings.kind) if settings.kind else model_kind(model_folder(settings.folder))
        else:
            kind = ModelKind.HYBRID if settings.api == "vikingdb" else ModelKind.DENSE
        aliases = [alias for alias, target in self._settings.aliases.items() if target == name]
        if name == self.main and LUMINOUS not in {*self._entries, *self._settings.aliases}:
            aliases.append(LUMINOUS)
        return NamedModel(name=name, settings=settings, kind=kind, aliases=tuple(aliases))

    def encoder(self, name: str | None = None) -> Encoder:
        """The dense encoder of this name, or the main one. Raises ModelNotFound, ModelError, InvalidInput."""
        return cast("Encoder", self._load(self.main if name is None else self.resolve(name), _DENSE, "dense vectors"))

    def sparse_encoder(self, name: str) -> SparseEncoder:
        """Raises ModelNotFound, ModelError, and InvalidInput where the model makes no sparse vectors."""
        return cast("SparseEncoder", self._load(self.resolve(name), _SPARSE, "sparse vectors"))

    def reranker(self, name: str) -> Reranker:
        """Raises ModelNotFound, ModelError, and InvalidInput where the model is no cross-encoder."""
        return cast("Reranker", self._load(self.resolve(name), (ModelKind.RERANKER,), "relevance judgements"))

    def is_loaded(self, name: str) -> bool:
        return name in self._loaded

    def _load(self, name: str, kinds: tuple[ModelKind, ...], product: str) -> Model:
        with self._locks[name]:
            if name not in self._loaded:
                kind = self.describe(name).kind
                if kind not in kinds:
                    raise InvalidInput(f"model {name} is a {kind} model: it makes no {product}", param="model")
                self._loaded[name] = self._built(name)
            return self._loaded[name]

    def _built(self, name: str) -> Model:
        settings = self._entries[name]
        if settings.folder is None:
            raise InvalidInput("remote models")
        from embedder.loading import load_model  # torch takes seconds to import

        return load_model(
            settings.folder,
            name=None if name == DEFAULT_MODEL else name,
            kind=self.describe(name).kind,
            device=settings.device or self._settings.device,
        )
