"""Everything is built here, once, and handed down as arguments.

Parts are built when they are first asked for: a command that needs no model never loads torch.
"""

from __future__ import annotations

from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from app.models import Models
from app.settings import Settings
from core.records import Collection, CollectionSettings
from store import Database, Views
from store.catalog import create_collection

if TYPE_CHECKING:
    from core.protocols import Encoder
    from embedder.lexical import Analyzer
    from indexer.pipeline import Pipeline
    from retriever.searcher import Searcher


class Wiring:
    """The parts of one process over one data directory. Close it, or use it in a `with`.

    Where several threads share it, call `build` first: from then on nothing changes.
    """

    def __init__(self, settings: Settings, *, encoder: Encoder | None = None) -> None:
        """`encoder` takes the place of the main model that the settings name."""
        self.settings = settings
        self._given = encoder

    @cached_property
    def database(self) -> Database:
        """Raises StorageError where the data directory cannot be used."""
        return Database.open(self.settings.data_dir)

    @cached_property
    def models(self) -> Models:
        return Models(self.settings, encoder=self._given)

    @property
    def encoder(self) -> Encoder:
        """The main model, which collections are embedded by. Raises ModelError where it cannot be used."""
        return self.models.encoder()

    @cached_property
    def analyzer(self) -> Analyzer:
        from embedder.lexical import Analyzer

        return Analyzer()

    @cached_property
    def views(self) -> Views:
        return Views(self.database)

    @cached_property
    def pipeline(self) -> Pipeline:
        from indexer.pipeline import Pipeline

        return Pipeline(self.database, self.encoder, self.analyzer)

    @cached_property
    def searcher(self) -> Searcher:
        from retriever.searcher import Searcher

        return Searcher(self.views, self.encoder, self.analyzer)

    @property
    def model_loaded(self) -> bool:
        return self.models.is_loaded(self.models.main)

    def create_collection(self, name: str, settings: CollectionSettings) -> Collection:
        """A new collection, to be embedded by this process's model. Raises InvalidSettings, CollectionExists."""
        from embedder.lexical import check_language

        check_language(settings.language)
        encoder = self.encoder  # loaded before the transaction: others would wait for it
        with self.database.write() as session:
            return create_collection(
                session,
                name,
                settings,
                model=encoder.name,
                fingerprint=encoder.fingerprint,
                dimension=encoder.dimension,
            )

    def build(self) -> None:
        """Build every part now, so that what is wrong shows at the start."""
        _ = (self.database, self.encoder, self.pipeline, self.searcher)

    def close(self) -> None:
        if "database" in self.__dict__:
            self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
