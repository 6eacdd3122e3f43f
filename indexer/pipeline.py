"""The write path: documents to drafts, embeddings for what is new, one commit a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.errors import EmbeddingsMissing, ModelError, ModelMismatch
from core.protocols import Encoder
from core.records import Collection, Document
from embedder.lexical import Analyzer
from indexer.drafting import Drafter
from indexer.duplicates import Duplicates
from indexer.embedding import Embedded, embed
from indexer.records import Duplicate, RecordError, Skipped
from indexer.report import AddReport, Tally
from store.batch import Batch, Draft, Receipt
from store.catalog import get_collection
from store.commit import commit, missing_embeddings, unchanged_documents
from store.database import Database

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


class Pipeline:
    """Adds documents to collections. Thread-safe; several runs at once take turns only to commit."""

    def __init__(self, database: Database, encoder: Encoder, analyzer: Analyzer) -> None:
        self._database = database
        self._encoder = encoder
        self._analyzer = analyzer

    def add(
        self,
        collection_name: str,
        items: Iterable[Document | RecordError | Skipped],
        *,
        on_progress: Callable[[AddProgress], None] | None = None,
        on_notice: Callable[[Notice], None] | None = None,
    ) -> AddReport:
        """Add, replace or leave alone every document, in batches of bounded size.

        What a reader could not use may come among the documents; it ends up in the report. Each batch is committed
        on its own: when a later one raises, the earlier ones stay. A document that cannot be
        stored or embedded costs itself only. `on_progress` is called while a batch is embedded and after its commit,
        `on_notice` for each error, omission and duplicate as it is met.

        Raises CollectionNotFound, ModelMismatch where the collection was embedded by another model, StorageError, and
        ModelError where the model fails on every document of a batch.
        """
        with self._database.read() as session:
            collection = get_collection(session, collection_name)
        if collection.active.fingerprint != self._encoder.fingerprint:
            raise ModelMismatch(
                f"the collection {collection_name!r} was embedded by {collection.active.model}, and what is loaded is "
                f"{self._encoder.name}, or another version of it; start with the former, or use another collection"
            )
        run = _Run(self._database, self._encoder, self._analyzer, collection, on_progress, on_notice)
        for batch in _batches(run.documents(items)):
            run.ingest(batch)
        return run.tally.report()


def delete(database: Database, collection_name: str, ids: Sequence[str]) -> Receipt:
    """Delete documents by id; unknown ids count for nothing. Needs no model.

    Raises CollectionNotFound and StorageError.
    """
    with database.write() as session:
        collection = get_collection(session, collection_name)
        batch = Batch(collection=collection, fingerprint=collection.active.fingerprint, deletions=tuple(ids))
        return commit(session, batch)


class _Run:
    """One call of `add`."""

    def __init__(
        self,
        database: Database,
        encoder: Encoder,
        analyzer: Analyzer,
        collection: Collection,
        on_progress: Callable[[AddProgress], None] | None,
        on_notice: Callable[[Notice], None] | None,
    ) -> None:
        self.tally = Tally()
        self._database = database
        self._encoder = encoder
        self._analyzer = analyzer
        self._collection = collection
        self._drafter = Drafter(collection.settings, encoder, analyzer)
        self._on_progress = on_progress
        self._on_notice = on_notice

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

    def ingest(self, documents: Sequence[Document]) -> None:
        """Embed what is new of a batch and commit it."""
        last = list({document.id: document for document in documents}.values())
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._try_ingest(last)
            except EmbeddingsMissing:  # another writer deleted a document that this batch relied on: look again
                if attempt == _ATTEMPTS:
                    raise
            else:
                break
        self._report_progress(0, 0)

    def _try_ingest(self, documents: Sequence[Document]) -> None:
        outlines = [self._drafter.outline(document) for document in documents]
        contents = {outline.document.id: outline.content_sha for outline in outlines}
        with self._database.read() as session:
            unchanged = unchanged_documents(session, self._collection.id, contents)
        drafts = [o if o.document.id in unchanged else self._drafter.complete(o) for o in outlines]
        with self._database.read() as session:
            shas = {passage.sha for draft in drafts for passage in draft.passages}
            missing = missing_embeddings(session, self._collection.active.id, shas)
        embedded = embed(
            drafts, missing, self._drafter, self._encoder, self._analyzer, on_progress=self._report_progress
        )
        if embedded.failed and len(embedded.failed) == len(drafts) > 1:
            raise ModelError(f"the model fails on every document of a batch: {embedded.failed[0].reason}")
        stored = self._commit(drafts, embedded, {id: contents[id] for id in unchanged})
        for failure in embedded.failed:
            self._note(failure)
        self.tally.count(stored, embedded)

    def _commit(self, drafts: Sequence[Draft], embedded: Embedded, unchanged: Mapping[str, bytes]) -> Receipt:
        """`unchanged`: content hashes by the ids of the documents that were taken for unchanged."""
        failed = {failure.id for failure in embedded.failed}
        batch = Batch(
            collection=self._collection,
            fingerprint=self._encoder.fingerprint,
            drafts=tuple(draft for draft in drafts if draft.document.id not in failed),
            embeddings=embedded.embeddings,
        )
        with self._database.write() as session:
            # an unchanged document was not split: were it gone by now, it would come back without passages
            if unchanged_documents(session, self._collection.id, unchanged) != set(unchanged):
                raise EmbeddingsMissing
            return commit(session, batch)

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
