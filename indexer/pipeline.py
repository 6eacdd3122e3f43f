"""The write path: documents to drafts, embeddings for what is new, one commit a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from core.errors import CollectionMoved, InvalidInput, ModelError, ModelMismatch, ModelNotFound, RemoteError
from core.filters import Filter
from core.protocols import DenseModels, Priority, SparseModels
from core.records import Collection, Document
from embedder.combined import sparse_model_of
from embedder.lexical import Analyzer
from indexer.batches import batches, characters_of
from indexer.ingest import Ingest, Ingested
from indexer.items import Item, Notice, documents_among
from indexer.records import Origin, RecordError
from indexer.report import AddReport, Tally
from store.batch import Batch, Draft, Receipt
from store.catalog import find_collection, get_collection
from store.commit import commit
from store.database import Database
from store.documents import seen_ids

_SWITCHES = 3  # of a collection's generations, in a row, after which a batch gives up


@dataclass(frozen=True, kw_only=True, slots=True)
class AddProgress:
    """How far a run is."""

    documents: int  # read so far, failed ones included
    committed: int  # documents that are stored for good, those that were there already included
    passages: int  # embedded so far
    tokens: int  # read by the model so far


class Pipeline:
    """Adds documents to collections. Thread-safe; several runs at once take turns only to commit."""

    def __init__(
        self, database: Database, models: DenseModels, analyzer: Analyzer, sparse_models: SparseModels | None = None
    ) -> None:
        """`sparse_models`: for collections with learned weights; None where there are none."""
        self._database = database
        self._models = models
        self._analyzer = analyzer
        self._sparse_models = sparse_models

    def add(
        self,
        collection_name: str,
        items: Iterable[Item],
        *,
        on_progress: Callable[[AddProgress], None] | None = None,
        priority: Priority = Priority.BULK,
    ) -> AddReport:
        """Add, replace or leave alone every document, in batches of bounded size.

        What a reader could not use may come among the documents; it ends up in the report. Each batch is committed
        on its own: when a later one raises, the earlier ones stay. A document that cannot be stored or embedded costs
        itself only. `on_progress` is called while a batch is embedded and after its commit. `priority`: INTERACTIVE
        where somebody waits.

        Raises CollectionNotFound, ModelMismatch where the collection's model is not there, StorageError, and
        ModelError where the model fails on every document of a batch; ModelNotFound where its sparse model is missing;
        RemoteError where the model is a remote one that is down, or refuses what it is asked.
        """
        return _Run(partial(self.ingest, collection_name, priority), on_progress).all(items)

    def remake(self, name: str, documents: Sequence[Document]) -> None:
        """Add documents to a generation by its own name, a hidden one as well; without any, only look whether it goes.

        Raises as `add` does, and ModelError where one of them fails.
        """
        with self._database.read() as session:
            collection = find_collection(session, name)
        report = _Run(partial(self.ingest_into, collection), None).all(documents)
        if report.failed:
            raise ModelError(f"{report.failed_count} documents failed, the first: {report.failed[0].reason}")

    def ingest(self, collection_name: str, priority: Priority = Priority.BULK) -> Ingest:
        """For whoever brings in batches step by step. Raises CollectionNotFound, ModelMismatch, ModelNotFound."""
        return self.ingest_into(self._found(collection_name), priority)

    def ingest_into(self, collection: Collection, priority: Priority = Priority.BULK) -> Ingest:
        """As `ingest`, of a collection as it was read. Loads its models. Raises ModelMismatch, ModelNotFound."""
        sparse = sparse_model_of(collection, self._sparse_models)
        return Ingest(self._database, self._models(collection), sparse, self._analyzer, collection, priority)

    def collection(self, name: str) -> Collection:
        """The collection, if its models are there. Raises CollectionNotFound, ModelMismatch, ModelNotFound."""
        collection = self._found(name)
        self._models(collection)
        sparse_model_of(collection, self._sparse_models)
        return collection

    def why_not(self, name: str) -> str | None:
        """Why this process cannot add to the collection, for the log: it lacks a model. None: it can.

        Raises CollectionNotFound. A remote model that is down is there: who needs it says what is wrong.
        """
        try:
            self.collection(name)
        except (ModelMismatch, ModelNotFound, ModelError, InvalidInput) as error:  # the last: it is of another kind
            return error.detail
        except RemoteError:
            return None
        return None

    def _found(self, name: str) -> Collection:
        with self._database.read() as session:
            return get_collection(session, name)


def delete(database: Database, collection_name: str, ids: Sequence[str], *, within: Filter | None = None) -> Receipt:
    """Delete documents by id; unknown ids count for nothing. Needs no model.

    `within`: as if there were none but the documents that satisfy it. Raises CollectionNotFound and StorageError.
    """
    with database.write() as session:
        collection = get_collection(session, collection_name)
        seen = ids if within is None else seen_ids(session, collection.id, ids, within)
        return commit(session, Batch.without_model(collection, deletions=seen))


class _Run:
    """One call of `add`."""

    def __init__(
        self,
        ingest: Callable[[], Ingest],
        on_progress: Callable[[AddProgress], None] | None,
    ) -> None:
        """`ingest`: into the generation that answers now."""
        self.tally = Tally()
        self._newest = ingest
        self._ingest = ingest()
        self._on_progress = on_progress
        self._reported = 0  # passages

    def all(self, items: Iterable[Item]) -> AddReport:
        for batch in batches(self.outlines(items), characters_of):
            self.add(batch)
        return self.tally.report()

    def outlines(self, items: Iterable[Item]) -> Iterator[Draft]:
        """Of the documents among `items` that can be stored; the rest, and ids met before, are noted."""
        for _, document in documents_among(((None, item) for item in items), count=self._count, note=self._note):
            outline = self._ingest.outline(document)
            if isinstance(outline, RecordError):
                self._note(outline)
            else:
                yield outline

    def add(self, outlines: Sequence[Draft]) -> None:
        ingested = self._ingested(outlines)
        for failure in ingested.failed:
            self._note(failure)
        self.tally.count(ingested)
        self._report_progress(0, 0)

    def _ingested(self, outlines: Sequence[Draft]) -> Ingested:
        refused: Sequence[RecordError] = ()
        for _ in range(_SWITCHES):
            prepared = self._ingest.prepare(outlines, refused)
            embedded = self._ingest.embed(prepared, self._report_progress)
            try:
                return self._ingest.store(prepared, embedded)
            except CollectionMoved as error:  # a reindex was switched: into the other generation, by its model
                moved = error
                self._ingest = self._newest()
                outlines, refused = self._ingest.outlines(outline.document for outline in outlines)
        raise moved

    def _count(self) -> None:
        self.tally.read += 1

    def _note(self, notice: Notice, _: Origin | None = None) -> None:
        self.tally.note(notice)

    def _report_progress(self, passages: int, tokens: int) -> None:
        """`passages` and `tokens` were embedded of the batch at hand and are not in the tally yet."""
        if self._on_progress is not None:
            # Passages that are embedded again, because another text of their call failed, were reported already.
            self._reported = max(self._reported, self.tally.passages + passages)
            self._on_progress(
                AddProgress(
                    documents=self.tally.read,
                    committed=self.tally.committed,
                    passages=self._reported,
                    tokens=self.tally.tokens + tokens,
                )
            )
