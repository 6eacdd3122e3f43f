"""The registry of the models named in the settings; each is loaded once, when it is first needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from app.model_settings import ModelSettings
from app.remote_models import gives_sparse, load_remote_model
from app.settings import Settings
from core.errors import InvalidInput, InvalidSettings, ModelError, ModelNotFound, ModelUnavailable
from core.protocols import Observable, Priority, RanBatch
from embedder.densemodels import checked
from embedder.kinds import DEFAULT_MODEL, DEFAULT_NAME, DENSE_KINDS, SPARSE_KINDS, ModelKind, model_folder, model_kind

if TYPE_CHECKING:
    from core.protocols import Encoder, Reranker, SparseEncoder
    from core.records import Collection
    from embedder.causal.model import CausalModel
    from embedder.loading import Model
    from embedder.remote.encoder import RemoteEncoder

TRY_AGAIN_SECONDS = 10.0  # after a failed load: an attempt may read gigabytes, and every search would make one
_UNREAD = float("-inf")  # time of a failure to read only the folder's configuration: reading it again costs nothing
LUMINOUS = "luminous-base"  # name used by clients of the Aleph Alpha API: the main model, unless it is configured


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedModel:
    """One entry of the list of models."""

    name: str
    settings: ModelSettings
    kind: ModelKind
    aliases: tuple[str, ...]


class Models:
    """Loads models by name or alias and keeps them in memory. Thread-safe."""

    def __init__(self, settings: Settings, *, encoder: Encoder | None = None) -> None:
        """`encoder` replaces the main model named in the settings.

        Raises InvalidSettings for an alias of an unknown model, and for a main model with the name of another model.
        """
        self._settings = settings
        self._entries = dict(settings.models)
        self._entries.setdefault(DEFAULT_MODEL, ModelSettings(folder=Path(DEFAULT_MODEL)))
        self.main = self._main(settings)
        unknown = [f"{name}: {target}" for name, target in settings.aliases.items() if target not in self._entries]
        if unknown:
            known = ", ".join(self._entries)
            raise InvalidSettings(f"aliases.{unknown[0]!s:.80}: there is no such model; there are {known}")
        self._loaded: dict[str, Model] = {}
        self._kinds: dict[str, ModelKind] = {}  # of loaded models
        if encoder is not None:
            self._loaded[self.main], self._kinds[self.main] = encoder, ModelKind.DENSE
        self._failed: dict[str, tuple[float, str]] = {}  # time of the attempt, by time.monotonic, and the reason
        self._asked: dict[str, float] = {}  # when each was last used, by time.monotonic
        self._locks = {name: threading.Lock() for name in self._entries}
        self._told: Callable[[str, RanBatch], None] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all models, the main one first; without aliases."""
        return (self.main, *(name for name in self._entries if name != self.main))

    def resolve(self, name: str) -> str:
        """Return the name of the model that a name or alias stands for. Raises ModelNotFound, which lists the names."""
        target = self._settings.aliases.get(name, name)
        if target in self._entries:
            return target
        if name == LUMINOUS:
            return self.main
        if name == DEFAULT_NAME:
            return DEFAULT_MODEL
        known = ", ".join(sorted({*self._entries, *self._settings.aliases, LUMINOUS}))
        raise ModelNotFound(f"there is no model {name!r:.80} here; there are {known}", param="model")

    def describe(self, name: str) -> NamedModel:
        """Describe a model from its settings and folder, without loading it.

        Raises ModelNotFound, and ModelUnavailable if the folder cannot be read or its kind is unclear.
        """
        name = self.resolve(name)
        with _unavailable(name):
            return self._described(name)

    def kind(self, name: str) -> ModelKind:
        """Return the model's kind, read from its folder unless it is loaded. Raises ModelNotFound, ModelError."""
        name = self.resolve(name)
        loaded = self._kinds.get(name)  # one step: `let_go` may remove it at any time
        if loaded is not None:
            return loaded
        try:
            kind = self.describe(name).kind
        except ModelUnavailable as error:
            self._failed[name] = _UNREAD, error.detail
            raise
        if self._failed.get(name, (None, ""))[0] == _UNREAD:
            self._failed.pop(name, None)
        return kind

    def encoder(self, name: str | None = None) -> Encoder:
        """Return the dense encoder with this name, by default the main one.

        Raises ModelNotFound, ModelError, and InvalidInput if the model makes no dense vectors.
        """
        return cast(
            "Encoder", self._load(self.main if name is None else self.resolve(name), DENSE_KINDS, "dense vectors")
        )

    def encoder_of(self, collection: Collection) -> Encoder:
        """Return the encoder that the collection was embedded with: the model of that name, or else the main one.

        Raises ModelMismatch if neither has the collection's fingerprint, ModelError if the model cannot be loaded.
        """
        model = collection.active.model
        if model == DEFAULT_NAME and model not in self._entries:
            model = DEFAULT_MODEL
        if model in self._entries and model != self.main:
            named = self.encoder(model) if self.kind(model) in DENSE_KINDS else None
            if named is not None and named.fingerprint == collection.active.fingerprint:
                return named
        return checked(self.encoder(), collection)

    def sparse_encoder(self, name: str) -> SparseEncoder:
        """Return the sparse encoder. Raises ModelNotFound, ModelError, and InvalidInput for another kind of model."""
        return cast("SparseEncoder", self._load(self.resolve(name), SPARSE_KINDS, "sparse vectors"))

    def reranker(self, name: str) -> Reranker:
        """Return the reranker. Raises ModelNotFound, ModelError, and InvalidInput if the model is no cross-encoder."""
        return cast("Reranker", self._load(self.resolve(name), (ModelKind.RERANKER,), "relevance judgements"))

    def search_reranker(self, name: str) -> Reranker:
        """As `reranker`, for a search that names it: errors list the rerankers, or say how to configure one."""
        try:
            return self.reranker(name)
        except (ModelNotFound, InvalidInput) as error:
            there = ", ".join(self.rerankers)
            none = "no reranker is configured: name the folder of a cross-encoder in the settings (models.NAME.folder)"
            hint = f"rerankers here: {there}" if there else none
            raise type(error)(f"{error.message}; {hint}", param="rerank.model") from None

    @property
    def rerankers(self) -> Iterator[str]:
        """The names of the models that are rerankers; folders are read lazily."""
        return filter(self._is_reranker, self.names)

    def causal_model(self, name: str) -> CausalModel:
        """Return the causal language model. Raises ModelNotFound, ModelError, and InvalidInput if it is none."""
        return cast("CausalModel", self._load(self.resolve(name), (ModelKind.CAUSAL,), "completions"))

    def model(self, name: str) -> Model:
        """Load and return the model with this name, whatever its kind. Raises ModelNotFound, ModelError."""
        return self._load(self.resolve(name), tuple(ModelKind), "results")

    @property
    def fitted_projections(self) -> Path:
        """The folder of the projections written by `salience models fit`."""
        return self._settings.data_dir / "projections"

    def is_loaded(self, name: str) -> bool:
        return name in self._loaded

    @property
    def failing(self) -> Mapping[str, str]:
        """The models whose last load failed: by name the reason, which may contain paths."""
        for name in list(self._failed):
            with suppress(ModelUnavailable):
                self.kind(name)  # clears the failure if the folder can be read again
        # A loaded one may be noted by a thread that looked at its folder before.
        return {name: reason for name, (_, reason) in self._failed.copy().items() if name not in self._loaded}

    def let_go(self, name: str, *, idle_seconds: float) -> bool:
        """Unload a model that has not been used for `idle_seconds` and has no callers waiting for it.

        Current users of the model keep it until they are done. The main model and remote models are never unloaded.
        Returns False if the model is in use: try again later. Raises ModelNotFound.
        """
        name = self.resolve(name)
        if name == self.main or self._entries[name].folder is None:
            return True
        lock = self._locks[name]
        if not lock.acquire(blocking=False):  # it is being loaded or fetched
            return False
        try:
            model = self._loaded.get(name)
            if model is None:
                return True
            busy = isinstance(model, Observable) and any(model.waiting().values())
            if busy or time.monotonic() - self._asked[name] < idle_seconds:
                return False
            del self._loaded[name], self._kinds[name]
            return True
        finally:
            lock.release()

    def observe(self, told: Callable[[str, RanBatch], None]) -> None:
        """Call `told` with the model's name and the batch for every batch that a model runs from now on."""
        self._told = told
        for name, model in list(self._loaded.items()):
            self._watch(name, model)

    def waiting(self) -> list[tuple[str, Mapping[Priority, int]]]:
        """Return the number of waiting callers by priority, of each loaded model with its name."""
        loaded = list(self._loaded.items())
        return [(name, model.waiting()) for name, model in loaded if isinstance(model, Observable)]

    def close(self) -> None:
        """Close the connections of remote models."""
        for name, model in list(self._loaded.items()):  # a copy: a reindex may be loading a model right now
            if self._entries[name].api is not None:
                cast("RemoteEncoder", model).close()

    def _described(self, name: str) -> NamedModel:
        settings = self._entries[name]
        if settings.folder is not None:
            folder = model_folder(settings.folder)
            if name == self.main and name not in self._settings.models and not folder.is_dir():
                others = ", ".join(other for other in self._entries if other != name)
                raise ModelError(
                    f"{folder} is not a folder, and no model of the settings has this name; there are {others}"
                )
            kind = ModelKind(settings.kind) if settings.kind else model_kind(folder)
        else:
            kind = ModelKind.HYBRID if gives_sparse(name, settings) else ModelKind.DENSE
        aliases = [alias for alias, target in self._settings.aliases.items() if target == name]
        if name == self.main and LUMINOUS not in {*self._entries, *self._settings.aliases}:
            aliases.append(LUMINOUS)
        return NamedModel(name=name, settings=settings, kind=kind, aliases=tuple(aliases))

    def _is_reranker(self, name: str) -> bool:
        try:
            return self.kind(name) is ModelKind.RERANKER
        except ModelError:  # reported to callers that use this model
            return False

    def _main(self, settings: Settings) -> str:
        """Return the name of the main model: an entry, or a folder, for which an entry is added."""
        asked = settings.aliases.get(settings.model, settings.model)
        if asked in self._entries:
            return asked
        if asked == DEFAULT_NAME:
            return DEFAULT_MODEL
        folder = Path(asked)
        name = folder.resolve().name or DEFAULT_MODEL
        entry = self._entries.setdefault(name, ModelSettings(folder=folder))
        if entry.folder is None or entry.folder.resolve() != folder.resolve():
            raise InvalidSettings(f"the model folder {folder} has the name of another model of the settings, {name!r}")
        return name

    def _load(self, name: str, kinds: tuple[ModelKind, ...], product: str) -> Model:
        with self._locks[name]:
            kind = self.kind(name)
            if kind not in kinds:
                raise InvalidInput(f"model {name} is a {kind} model: it makes no {product}", param="model")
            if name not in self._loaded:
                model = self._tried(name, kind)
                self._watch(name, model)
                self._loaded[name], self._kinds[name] = model, kind
            self._asked[name] = time.monotonic()
            return self._loaded[name]

    def _tried(self, name: str, kind: ModelKind) -> Model:
        """Load the model, unless that failed less than TRY_AGAIN_SECONDS ago. The caller holds the model's lock."""
        read_at, reason = self._failed.get(name, (_UNREAD, ""))
        if time.monotonic() - read_at < TRY_AGAIN_SECONDS:
            raise _cannot_be_loaded(name, reason)
        try:
            with _unavailable(name):
                model = self._built(name, kind)
        except ModelUnavailable as error:
            self._failed[name] = time.monotonic(), error.detail
            raise
        self._failed.pop(name, None)
        return model

    def _watch(self, name: str, model: object) -> None:
        if self._told is not None and isinstance(model, Observable):
            model.observe(partial(self._told, name))

    def _built(self, name: str, kind: ModelKind) -> Model:
        settings = self._entries[name]
        if settings.folder is None:
            return load_remote_model(name, settings, self._settings.data_dir)
        from app.operation.process import compute_within_quota
        from embedder.loading import Overrides, load_model  # torch takes seconds to import
        from embedder.modelfolder import Pooling

        compute_within_quota()
        return load_model(
            settings.folder,
            name=None if name == DEFAULT_MODEL else name,
            kind=kind,
            device=settings.device or self._settings.device,
            precision=settings.precision or (self._settings.precision if kind is ModelKind.DENSE else "auto"),
            overrides=Overrides(
                query_prefix=settings.query_prefix,
                document_prefix=settings.document_prefix,
                pooling=None if settings.pooling is None else Pooling(settings.pooling),
                dimension=settings.dimension,
            ),
            fitted=self.fitted_projections,
        )


@contextmanager
def _unavailable(name: str) -> Iterator[None]:
    """Convert errors to ModelUnavailable, whose message names no files: only operators may see paths, in its detail."""
    try:
        yield
    except ModelError as error:
        raise _cannot_be_loaded(name, error.detail) from error
    except OSError as error:
        raise _cannot_be_loaded(name, str(error)) from error


def _cannot_be_loaded(name: str, reason: str) -> ModelUnavailable:
    why = "the server's log and salience doctor say why"
    return ModelUnavailable(f"model {name} cannot be loaded; {why}", param="model", detail=reason)
