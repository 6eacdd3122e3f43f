"""Dependency wiring: builds every part of a process once, and passes them on as arguments.

Parts are built lazily: a command that needs no model never loads torch.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import cached_property, partial
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, Self

from app.models import Models
from app.periodic import periodically
from app.settings import Settings
from core.errors import InvalidSettings, StorageError
from core.records import Collection, CollectionSettings, IndexKind
from store import Database, Views
from store.catalog import create_collection
from store.database import ReadSession
from store.maintenance import Maintenance, maintain_once
from store.migrate import SCHEMA_VERSION
from store.processes import Registration, register
from store.waiting import wait_for_seq

if TYPE_CHECKING:
    from app.access.keyring import KeyRing
    from app.access.limits import Limiter
    from app.access.quota import TokenQuota
    from app.access.signatures import SignatureAuth
    from app.reindexes import ModelPreloader
    from app.viking import VikingModels
    from core.protocols import Encoder
    from embedder.lexical import Analyzer
    from indexer.pipeline import Pipeline
    from indexer.reindexing import Reindexing
    from indexer.worker import Worker
    from retriever.searcher import Searcher
    from store.passageindex.milvus import Milvus

LET_GO_SECONDS = 10.0  # between checks for deleted collections that this process still has in memory


class Wiring:
    """The parts of one process over one data directory. Close it, or use it as a context manager.

    Before several threads share it, call `build`: from then on nothing changes.
    """

    def __init__(self, settings: Settings, *, encoder: Encoder | None = None) -> None:
        """`encoder` replaces the main model named in the settings."""
        self.settings = settings
        self._given = encoder

    @cached_property
    def database(self) -> Database:
        """The database. Raises StorageError if the data directory cannot be used."""
        return Database.open(self.settings.data_dir, allow_network=self.settings.allow_network_file_system)

    @cached_property
    def maintenance(self) -> Maintenance:
        """Maintains the data directory, in a thread while its `running` block lasts."""
        return Maintenance(self.database, index=self.passage_index)

    def maintain_once(self) -> None:
        """Do the maintenance that is due, unless another process does it: for commands that end."""
        maintain_once(self.database, index=self.passage_index)

    def register(self, kind: str, address: str | None = None) -> Registration:
        """Enter this process among those that have the data directory open. Raises DirectoryInUse."""
        return register(
            self.database.directory,
            kind=kind,
            version=version("salience"),
            schema=SCHEMA_VERSION,
            address=address,
        )

    @cached_property
    def models(self) -> Models:
        return Models(self.settings, encoder=self._given)

    @property
    def encoder(self) -> Encoder:
        """The main model, which collections use unless they name another. Raises ModelError if it cannot be loaded."""
        return self.models.encoder()

    @cached_property
    def analyzer(self) -> Analyzer:
        from embedder.lexical import Analyzer

        return Analyzer()

    @cached_property
    def views(self) -> Views:
        return Views(self.database, self.passage_index)

    def letting_go(self, *, outdated: bool = False) -> AbstractContextManager[None]:
        """While the block runs, regularly free snapshots that are no longer needed: see Views.let_go."""

        def let_go() -> None:
            with suppress(StorageError):  # retried at the next check; /readyz and searches report what is wrong
                self.views.let_go(outdated=outdated)

        return periodically(let_go, seconds=LET_GO_SECONDS, name="letting-go")

    @cached_property
    def passage_index(self) -> Milvus | None:
        """The Milvus that holds collections with the index milvus; None if none is configured.

        Raises InvalidSettings if its package is not installed.
        """
        from app.milvus import milvus

        return milvus(self.settings.milvus)

    @cached_property
    def pipeline(self) -> Pipeline:
        from indexer.pipeline import Pipeline

        return Pipeline(self.database, self.models.encoder_of, self.analyzer, self.models.sparse_encoder)

    @cached_property
    def worker(self) -> Worker:
        """Processes jobs; starts no thread by itself."""
        from indexer.worker import JobPolicy, Worker

        jobs = self.settings.jobs
        policy = JobPolicy(lease_seconds=jobs.lease_seconds, attempts=jobs.attempts)
        return Worker(self.database, self.pipeline, policy)

    @cached_property
    def reindexing(self) -> Reindexing:
        """Carries out reindexes; starts no thread by itself."""
        from app.reindexes import judged
        from indexer.reindexing import Reindexing

        return Reindexing(self.database, self.pipeline, self.views, partial(judged, self))

    @cached_property
    def preloader(self) -> ModelPreloader:
        """Loads the models of reindexes ahead of searches."""
        from app.reindexes import ModelPreloader

        return ModelPreloader(self)

    @cached_property
    def searcher(self) -> Searcher:
        from retriever.searcher import Searcher

        models = self.models
        return Searcher(self.views, models.encoder_of, self.analyzer, models.sparse_encoder, models.search_reranker)

    @cached_property
    def viking(self) -> VikingModels:
        """The models of the VikingDB API. Raises InvalidSettings if a name is bound to a model of the wrong kind."""
        from app.viking import VikingModels

        return VikingModels(self.settings.vikingdb, self.models, self.analyzer)

    @cached_property
    def viking_quota(self) -> TokenQuota:
        from app.access.quota import TokenQuota

        return TokenQuota(self.settings.vikingdb.tokens_per_minute)

    @cached_property
    def keyring(self) -> KeyRing:
        from app.access.keyring import KeyRing

        return KeyRing(self.database, self.settings.auth.accepted)

    @cached_property
    def limiter(self) -> Limiter:
        from app.access.limits import Limiter

        return Limiter()

    @cached_property
    def signatures(self) -> SignatureAuth:
        from app.access.signatures import SignatureAuth

        auth = self.settings.auth
        return SignatureAuth(auth.secret_keys, guarded=bool(auth.accepted))  # with tokens only, no request passes

    @property
    def model_loaded(self) -> bool:
        return self.models.is_loaded(self.models.main)

    def create_collection(
        self,
        name: str,
        settings: CollectionSettings,
        *,
        model: str | None = None,
        sparse_model: str | None = None,
        check: Callable[[ReadSession], None] = lambda session: None,
    ) -> Collection:
        """Create a collection, to be embedded with a model of the settings, by default the main one.

        `sparse_model`: the model of its learned weights. `check`: called in the creating transaction; raises if the
        collection may not be created.

        Raises InvalidSettings, CollectionExists, and ModelNotFound, ModelError or InvalidInput for the models.
        """
        from embedder.lexical import check_language

        check_language(settings.language)
        self.check_index(settings.index)
        encoder = self.models.encoder(model)  # loaded before the transaction: others would wait for it
        sparse = None if sparse_model is None else self.models.sparse_encoder(sparse_model)
        with self.database.write() as session:
            check(session)
            return create_collection(
                session,
                name,
                settings,
                model=encoder.name,
                fingerprint=encoder.fingerprint,
                dimension=encoder.dimension,
                sparse_model=None if sparse_model is None else self.models.resolve(sparse_model),
                sparse_fingerprint=None if sparse is None else sparse.fingerprint,
            )

    def check_index(self, kind: IndexKind) -> None:
        """Raise InvalidSettings if nothing is configured to hold a collection with this index."""
        if kind is IndexKind.MILVUS and self.passage_index is None:
            raise InvalidSettings(
                "the index milvus needs a Milvus to hold the collection, and none is set up here: "
                "set SALIENCE_MILVUS__URI, or choose another index",
                param="index",
            )

    def wait_for(self, collection: str, seq: int | None, timeout_seconds: float) -> None:
        """Wait until the change `seq` is visible; None: do not wait. Raises SeqNotReached, CollectionNotFound."""
        if seq is not None:
            wait_for_seq(self.database, collection, seq, timeout_seconds)

    def build(self) -> None:
        """Build every part now, so that problems appear at the start."""
        _ = (
            self.database,
            self.passage_index,
            self.encoder,
            self.pipeline,
            self.worker,
            self.reindexing,
            self.searcher,
        )
        _ = (self.viking, self.viking_quota, self.signatures, self.keyring, self.limiter)
        self.preloader.load()

    def close(self) -> None:
        if "models" in self.__dict__:
            self.models.close()
        if "passage_index" in self.__dict__ and self.passage_index is not None:
            self.passage_index.close()
        if "database" in self.__dict__:
            self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
