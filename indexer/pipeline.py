"""The write path: documents to drafts, embeddings for what is new, one commit a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.errors import EmbeddingsMissing, ModelError, ModelMismatch
from core.protocols import Encoder, Priority, SparseEncoder, SparseModels
from core.records import Collection, Document, SparseScoring
from embedder.lexical import Analyzer
from embedder.together import sparse_model_of
from indexer.drafting import Drafter
from indexer.duplicates import Duplicates
from indexer.embedding import Embedded, Embedders, embed
from indexer.records import Duplicate, RecordError, Skipped
from indexer.report import AddReport, Tally
from store.batch import Batch, Draft, Receipt
from store.catalog import get_collection
from store.commit import commit, missing_embeddings, unchanged_documents
from store.database import Database, WriteSession

BATCH_DOCUMENTS = 128
BATCH_CHARACTERS = 400_000
_ATTEMPTS = 5  # at a commit, when other writers delete what it relies on

Notice = RecordError | Skipped | Duplicate


@dataclass(frozen=True, kw_only=True, slots=True)
class AddProgress:
    """How far a run is."""

    documents: int  # read so far, failed ones included
    committed: int  # documents that are stored for good, those that were there already included
    passages: int  # embedded so far
    tokens: int  # read by the model so far


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingested:
    """What became of one batch."""

    receipt: Receipt
    failed: Sequence[RecordError]
    truncated: Sequence[str]  # ids of documents of which the model did not read all
    passages: int  # that had to be embedded
    tokens: int  # that the model read


Seal = Callable[[WriteSession, Ingested], None]  # writes more in the commit's transaction; what it raises undoes both


class Pipeline:
    """Adds documents to collections. Thread-safe; several runs at once take turns only to commit."""

    def __init__(
        self, database: Database, encoder: Encoder, analyzer: Analyzer, sparse_models: SparseModels | None = None
    ) -> None:
        """`sparse_models`: for collections with learned weights; None where there are none."""
        self._database = database
        self._encoder = encoder
        self._analyzer = analyzer
        self._sparse_models = sparse_models

    def add(
        self,
        collection_name: str,
        items: Iterable[Document | RecordError | Skipped],
        *,
        on_progress: Callable[[AddProgress], None] | None = None,
        on_notice: Callable[[Notice], None] | None = None,
        priority: Priority = Priority.BULK,
    ) -> AddReport:
        """Add, replace or leave alone every document, in batches of bounded size.

        What a reader could not use may come among the documents; it ends up in the report. Each batch is committed
        on its own: when a later one raises, the earlier ones stay. A document that cannot be
        stored or embedded costs itself only. `on_progress` is called while a batch is embedded and after its commit,
        `on_notice` for each error, omission and duplicate as it is met. `priority`: INTERACTIVE where somebody waits.

        Raises CollectionNotFound, ModelMismatch where the collection was embedded by another model, StorageError, and
        ModelError where the model fails on every document of a batch; ModelNotFound where its sparse model is missing;
        RemoteUnavailable where the model is a remote one that is down.
        """
        run = self._run(collection_name, on_progress, on_notice, priority)
        for batch in _batches(run.documents(items)):
            run.ingest(batch)
        return run.tally.report()

    def ingest(
        self,
        collection_name: str,
        documents: Sequence[Document],
        *,
        seal: Seal,
        on_progress: Callable[[AddProgress], None] | None = None,
    ) -> None:
        """Add one batch, in one transaction that `seal` takes part in. Raises as `add` does, and what `seal` raises."""
        run = self._run(collection_name, on_progress, None, Priority.BULK)
        problems = [run.problem(document) for document in documents]
        refused = [problem for problem in problems if problem is not None]
        sound = [document for document, problem in zip(documents, problems, strict=True) if problem is None]
        run.ingest(sound, refused, seal)

    def collection(self, name: str) -> Collection:
        """The collection, if it is one of this encoder's. Raises CollectionNotFound, ModelMismatch."""
        with self._database.read() as session:
            collection = get_collection(session, name)
        if collection.active.fingerprint != self._encoder.fingerprint:
            raise ModelMismatch(
                f"the collection {name!r} was embedded by {collection.active.model}, and what is loaded is "
                f"{self._encoder.name}, or another version of it; start with the former, or use another collection"
            )
        return collection

    @property
    def fingerprint(self) -> str:
        """Of the encoder: the collections of others cannot be added to."""
        return self._encoder.fingerprint

    def _run(
        self,
        collection_name: str,
        on_progress: Callable[[AddProgress], None] | None,
        on_notice: Callable[[Notice], None] | None,
        priority: Priority,
    ) -> _Run:
        collection = self.collection(collection_name)
        sparse = sparse_model_of(collection, self._sparse_models)
        return _Run(self._database, self._encoder, sparse, self._analyzer, collection, on_progress, on_notice, priority)


def delete(database: Database, collection_name: str, ids: Sequence[str]) -> Receipt:
    """Delete documents by id; unknown ids count for nothing. Needs no model.

    Raises CollectionNotFound and StorageError.
    """
    with database.write() as session:
        return commit(session, deletion_of(get_collection(session, collection_name), ids))


def deletion_of(collection: Collection, ids: Sequence[str]) -> Batch:
    """The batch that deletes the documents, and writes nothing."""
    active = collection.active
    return Batch(
        collection=collection,
        fingerprint=active.fingerprint,
        sparse_fingerprint=active.sparse_fingerprint,
        deletions=tuple(ids),
    )


class _Run:
    """One call of `add` or `ingest`."""

    def __init__(
        self,
        database: Database,
        encoder: Encoder,
        sparse: SparseEncoder | None,
        analyzer: Analyzer,
        collection: Collection,
        on_progress: Callable[[AddProgress], None] | None,
        on_notice: Callable[[Notice], None] | None,
        priority: Priority,
    ) -> None:
        self.tally = Tally()
        self._database = database
        lexical = collection.settings.sparse is not SparseScoring.LEARNED
        self._embedders = Embedders(encoder=encoder, sparse=sparse, analyzer=analyzer if lexical else None)
        self._collection = collection
        self._drafter = Drafter(collection.settings, encoder, analyzer)
        self._on_progress = on_progress
        self._on_notice = on_notice
        self._priority = priority

    def documents(self, items: Iterable[Document | RecordError | Skipped]) -> Iterator[Document]:
        """The documents among `items`; the rest, and ids met before, are noted."""
        known = Duplicates()
        for item in items:
            if not isinstance(item, Skipped):
                self.tally.read += 1
            if not isinstance(item, Document):
                self._note(item)
                continue
            if problem := self._drafter.problem(item):
                self._note(problem)
                continue
            if known.seen(item.id):
                self._note(Duplicate(id=item.id))
            yield item

    def problem(self, document: Document) -> RecordError | None:
        """Why the document cannot be stored, or None."""
        return self._drafter.problem(document)

    def ingest(
        self, documents: Sequence[Document], refused: Sequence[RecordError] = (), seal: Seal | None = None
    ) -> None:
        """Embed what is new of a batch and commit it. `refused`: what is in the batch and cannot be stored."""
        last = list({document.id: document for document in documents}.values())
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._try_ingest(last, refused, seal)
            except EmbeddingsMissing:  # another writer deleted a document that this batch relied on: look again
                if attempt == _ATTEMPTS:
                    raise
            else:
                break
        self._report_progress(0, 0)

    def _try_ingest(self, documents: Sequence[Document], refused: Sequence[RecordError], seal: Seal | None) -> None:
        outlines = [self._drafter.outline(document) for document in documents]
        contents = {outline.document.id: outline.content_sha for outline in outlines}
        with self._database.read() as session:
            unchanged = unchanged_documents(session, self._collection.id, contents)
        drafts = [o if o.document.id in unchanged else self._drafter.complete(o) for o in outlines]
        with self._database.read() as session:
            shas = {passage.sha for draft in drafts for passage in draft.passages}
            missing = missing_embeddings(session, self._collection.active.id, shas)
        embedded = embed(
            drafts, missing, self._drafter, self._embedders, on_progress=self._report_progress, priority=self._priority
        )
        if embedded.failed and len(embedded.failed) == len(drafts) > 1:
            raise ModelError(f"the model fails on every document of a batch: {embedded.failed[0].reason}")
        failed = [*refused, *embedded.failed]
        stored = self._commit(drafts, embedded, {id: contents[id] for id in unchanged}, failed, seal)
        for failure in failed:
            self._note(failure)
        self.tally.count(stored, embedded)

    def _commit(
        self,
        drafts: Sequence[Draft],
        embedded: Embedded,
        unchanged: Mapping[str, bytes],
        failed: Sequence[RecordError],
        seal: Seal | None,
    ) -> Receipt:
        """`unchanged`: content hashes by the ids of the documents that were taken for unchanged."""
        poisoned = {failure.id for failure in embedded.failed}
        batch = Batch(
            collection=self._collection,
            fingerprint=self._embedders.encoder.fingerprint,
            sparse_fingerprint=None if self._embedders.sparse is None else self._embedders.sparse.fingerprint,
            drafts=tuple(draft for draft in drafts if draft.document.id not in poisoned),
            embeddings=embedded.embeddings,
        )
        with self._database.write() as session:
            # an unchanged document was not split: were it gone by now, it would come back without passages
            if unchanged_documents(session, self._collection.id, unchanged) != set(unchanged):
                raise EmbeddingsMissing
            receipt = commit(session, batch)
            if seal is not None:
                ingested = Ingested(
                    receipt=receipt,
                    failed=failed,
                    truncated=embedded.truncated,
                    passages=len(embedded.embeddings),
                    tokens=embedded.tokens,
                )
                seal(session, ingested)
            return receipt

    def _note(self, notice: Notice) -> None:
        self.tally.note(notice)
        if self._on_notice is not None:
            self._on_notice(notice)

    def _report_progress(self, passages: int, tokens: int) -> None:
        """`passages` and `tokens` were embedded of the batch at hand and are not in the tally yet."""
        if self._on_progress is not None:
            self._on_progress(
                AddProgress(
                    documents=self.tally.read,
                    committed=self.tally.committed,
                    passages=self.tally.passages + passages,
                    tokens=self.tally.tokens + tokens,
                )
            )


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    characters = 0
    for document in documents:
        size = len(document.title) + len(document.text)
        if batch and characters + size > BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
        batch.append(document)
        characters += size
        if len(batch) == BATCH_DOCUMENTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
