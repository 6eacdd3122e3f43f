"""The write path: turn documents into drafts, embed what is new, and commit batch by batch."""

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

_SWITCHES = 3  # attempts at a batch, each ended by a switch of the collection's generation, before it fails


@dataclass(frozen=True, kw_only=True, slots=True)
class AddProgress:
    """The progress of a run."""

    documents: int  # read so far, failed ones included
    committed: int  # documents that are stored durably, unchanged ones included
    passages: int  # embedded so far
    tokens: int  # read by the model so far


class Pipeline:
    """Adds documents to collections. Thread-safe; several runs at once take turns only to commit."""

    def __init__(
        self, database: Database, models: DenseModels, analyzer: Analyzer, sparse_models: SparseModels | None = None
    ) -> None:
        """`sparse_models`: for collections with learned sparse weights; None if there are no such models."""
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
        """Add, replace or leave unchanged every document, in batches of bounded size.

        `items` may include errors and omissions of the readers; the errors are in the report. Each batch is committed
        on its own: if a later one raises, the earlier ones stay. A document that cannot be stored or embedded does not
        stop the others. `on_progress` is called while a batch is embedded and after its commit. `priority` is
        INTERACTIVE if somebody waits for the result.

        Raises CollectionNotFound; ModelMismatch where the collection's model is not available, and ModelNotFound where
        its sparse model is not; ModelError where the model fails on every document of a batch; RemoteError where a
        remote model is down or refuses the requests; CollectionMoved where the collection is switched to another
        generation again and again; StorageError.
        """
        return _Run(partial(self.ingest, collection_name, priority), on_progress).all(items)

    def remake(self, name: str, documents: Sequence[Document]) -> None:
        """Add documents to a generation by its own name, even a hidden one; with none, only check that it is possible.

        Raises what `add` raises, and ModelError if any document fails.
        """
        with self._database.read() as session:
            collection = find_collection(session, name)
        report = _Run(partial(self.ingest_into, collection), None).all(documents)
        if report.failed:
            raise ModelError(f"{report.failed_count} documents failed, the first: {report.failed[0].reason}")

    def ingest(self, collection_name: str, priority: Priority = Priority.BULK) -> Ingest:
        """An Ingest, to add batches step by step. Raises CollectionNotFound, ModelMismatch, ModelNotFound."""
        return self.ingest_into(self._found(collection_name), priority)

    def ingest_into(self, collection: Collection, priority: Priority = Priority.BULK) -> Ingest:
        """Like `ingest`, for a collection record read before. Loads its models. Raises ModelMismatch, ModelNotFound."""
        sparse = sparse_model_of(collection, self._sparse_models)
        return Ingest(self._database, self._models(collection), sparse, self._analyzer, collection, priority)

    def collection(self, name: str) -> Collection:
        """The collection, if its models are available. Raises CollectionNotFound, ModelMismatch, ModelNotFound."""
        collection = self._found(name)
        self._models(collection)
        sparse_model_of(collection, self._sparse_models)
        return collection

    def why_not(self, name: str) -> str | None:
        """For the log: why this process cannot add to the collection, as it lacks a model; None if it can.

        A remote model that is down counts as available: its use reports what is wrong. Raises CollectionNotFound.
        """
        try:
            self.collection(name)
        except (ModelMismatch, ModelNotFound, ModelError, InvalidInput) as error:  # the last: a model of another kind
            return error.detail
        except RemoteError:
            return None
        return None

    def _found(self, name: str) -> Collection:
        with self._database.read() as session:
            return get_collection(session, name)


def delete(database: Database, collection_name: str, ids: Sequence[str], *, within: Filter | None = None) -> Receipt:
    """Delete documents by id; unknown ids are ignored. Needs no model.

    With `within`, only documents that satisfy that filter are deleted. Raises CollectionNotFound and StorageError.
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
        """`ingest` makes an Ingest for the generation that serves the collection at that moment."""
        self.tally = Tally()
        self._newest = ingest
        self._ingest = ingest()
        # How the last batch found the collection moved, if it did: the next batch's first document is outlined already.
        self._moved: CollectionMoved | None = None
        self._on_progress = on_progress
        self._reported = 0  # passages

    def all(self, items: Iterable[Item]) -> AddReport:
        """Add all items, batch by batch, and report."""
        for batch in batches(self.outlines(items), characters_of):
            self.add(batch)
        return self.tally.report()

    def outlines(self, items: Iterable[Item]) -> Iterator[Draft]:
        """Yield outlines of the documents that can be stored; everything else, and each repeated id, is noted."""
        for _, document in documents_among(((None, item) for item in items), count=self._count, note=self._note):
            outline = self._ingest.outline(document)
            if isinstance(outline, RecordError):
                self._note(outline)
            else:
                yield outline

    def add(self, outlines: Sequence[Draft]) -> None:
        """Add one batch, and note and count the outcome."""
        ingested = self._ingested(outlines)
        for failure in ingested.failed:
            self._note(failure)
        self.tally.count(ingested)
        self._report_progress(0, 0)

    def _ingested(self, outlines: Sequence[Draft]) -> Ingested:
        documents = [outline.document for outline in outlines]
        refused: Sequence[RecordError] = ()
        moved, self._moved = self._moved, None
        for _ in range(_SWITCHES):
            if moved is not None:  # some were outlined with the settings of the generation before
                outlines, refused = self._ingest.outlines(documents)
            prepared = self._ingest.prepare(outlines, refused)
            embedded = self._ingest.embed(prepared, self._report_progress)
            try:
                return self._ingest.store(prepared, embedded)
            except CollectionMoved as error:  # a reindex was switched: add to the new generation, with its model
                moved = self._moved = error
                self._ingest = self._newest()
        assert moved is not None
        raise moved

    def _count(self) -> None:
        self.tally.read += 1

    def _note(self, notice: Notice, _: Origin | None = None) -> None:
        self.tally.note(notice)

    def _report_progress(self, passages: int, tokens: int) -> None:
        """`passages` and `tokens`: embedded in the current batch, and not in the tally yet."""
        if self._on_progress is not None:
            # Passages embedded again, because another text in the same encoder call failed, were reported already.
            self._reported = max(self._reported, self.tally.passages + passages)
            self._on_progress(
                AddProgress(
                    documents=self.tally.read,
                    committed=self.tally.committed,
                    passages=self._reported,
                    tokens=self.tally.tokens + tokens,
                )
            )
