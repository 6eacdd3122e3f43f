"""The three steps that bring a batch of documents in: prepare, embed, store. Each may be done in another thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from core.errors import EmbeddingsMissing, InvalidDocument, ModelError
from core.protocols import Encoder, Priority, SparseEncoder
from core.records import Collection, Document, SparseScoring
from embedder.lexical import Analyzer
from indexer.drafting import Drafted, Drafter, refusal
from indexer.embedding import Embedded, Embedders, embed
from indexer.records import RecordError
from store.batch import Batch, Draft, Receipt
from store.commit import commit, missing_embeddings, unchanged_documents
from store.database import Database, WriteSession

_ATTEMPTS = 5  # at a commit, when other writers delete what it relies on


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A batch, split into passages."""

    outlines: Sequence[Draft]  # of one id the last
    refused: Sequence[RecordError]  # what was in the batch and cannot be stored
    drafts: Sequence[Drafted]  # of the outlines; without passages where nothing changed
    unchanged: Mapping[str, bytes]  # content hashes of the documents that are stored already, by their ids
    missing: AbstractSet[bytes]  # hashes of the passages that have to be embedded
    terms: Mapping[bytes, Mapping[str, float]]  # what BM25 finds those by; nothing where it takes no part


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingested:
    """What became of one batch."""

    receipt: Receipt
    failed: Sequence[RecordError]
    truncated: Sequence[str]  # ids of documents of which the model did not read all
    passages: int  # that had to be embedded
    tokens: int  # that the model read


Seal = Callable[[WriteSession, Ingested], None]  # writes more in the commit's transaction; what it raises undoes both
EmbedProgress = Callable[[int, int], None]  # passages and tokens of the batch so far


class Ingest:
    """Brings batches into one collection. Any number of threads may be at it, each at a batch of its own."""

    def __init__(
        self,
        database: Database,
        encoder: Encoder,
        sparse: SparseEncoder | None,
        analyzer: Analyzer,
        collection: Collection,
        priority: Priority,
    ) -> None:
        """`sparse`: the collection's sparse model; None where it has none."""
        self._database = database
        lexical = collection.settings.sparse is not SparseScoring.LEARNED
        self._analyzer = analyzer if lexical else None
        self._embedders = Embedders(encoder=encoder, sparse=sparse)
        self._collection = collection
        self._drafter = Drafter(collection.settings, encoder, analyzer)
        self._priority = priority

    def outline(self, document: Document) -> Draft | RecordError:
        """The draft without passages, or why the document cannot be stored."""
        try:
            return self._drafter.outline(document)
        except InvalidDocument as error:
            return refusal(document, error)

    def outlines(self, documents: Iterable[Document]) -> tuple[list[Draft], list[RecordError]]:
        """As `outline`, of many."""
        found = [self.outline(document) for document in documents]
        refused = [each for each in found if isinstance(each, RecordError)]
        return [each for each in found if isinstance(each, Draft)], refused

    def prepare(self, outlines: Sequence[Draft], refused: Sequence[RecordError] = ()) -> Prepared:
        """Split what is new, and see what has to be embedded. `refused`: of the batch, and cannot be stored.

        What is stored may change before the batch is: `store` finds out.
        """
        last = list({outline.document.id: outline for outline in outlines}.values())
        contents = {outline.document.id: outline.content_sha for outline in last}
        with self._database.read() as session:
            unchanged = unchanged_documents(session, self._collection.id, contents)
        drafts = [Drafted(draft=o) if o.document.id in unchanged else self._drafter.complete(o) for o in last]
        shas = {sha for drafted in drafts for sha in drafted.prompts}
        with self._database.read() as session:
            missing = missing_embeddings(session, self._collection.active.id, shas)
        return Prepared(
            outlines=last,
            refused=refused,
            drafts=drafts,
            unchanged={id: contents[id] for id in unchanged},
            missing=missing,
            terms=self._terms(drafts, missing),
        )

    def embed(self, prepared: Prepared, on_progress: EmbedProgress) -> Embedded:
        """Embed what is missing. A document that makes the model fail costs itself only.

        Raises ModelError where it fails on every document of the batch, and RemoteError.
        """
        drafts = prepared.drafts
        embedded = embed(
            drafts,
            prepared.missing,
            prepared.terms,
            self._embedders,
            on_progress=on_progress,
            priority=self._priority,
        )
        broken = [failure for failure in embedded.failed if failure.code == ModelError.code]
        if broken and len(broken) == len(drafts) > 1:
            raise ModelError(f"the model fails on every document of a batch: {broken[0].reason}")
        return embedded

    def store(
        self, prepared: Prepared, embedded: Embedded, seal: Seal | None = None, *, deletions: Sequence[str] = ()
    ) -> Ingested:
        """Commit the batch, with what `seal` writes. Batches that share documents come in the order of these calls.

        Where others changed meanwhile what it relies on, it is prepared and embedded anew. `deletions`: ids of
        documents that go with it. Raises CollectionMoved where another generation has taken the collection's name.
        """
        for _ in range(1, _ATTEMPTS):
            try:
                return self._commit(prepared, embedded, seal, deletions)
            except EmbeddingsMissing:  # another writer deleted a document that this batch relied on: look again
                prepared = self.prepare(prepared.outlines, prepared.refused)
                embedded = self.embed(prepared, lambda passages, tokens: None)
        return self._commit(prepared, embedded, seal, deletions)

    def write(
        self, session: WriteSession, prepared: Prepared, embedded: Embedded, *, deletions: Sequence[str] = ()
    ) -> Ingested:
        """The batch, in a transaction that is open already. Raises EmbeddingsMissing: prepare and embed it anew."""
        poisoned = {failure.id for failure in embedded.failed}
        sparse = self._embedders.sparse
        batch = Batch(
            collection=self._collection,
            fingerprint=self._embedders.encoder.fingerprint,
            sparse_fingerprint=None if sparse is None else sparse.fingerprint,
            drafts=tuple(each.draft for each in prepared.drafts if each.draft.document.id not in poisoned),
            embeddings=embedded.embeddings,
            deletions=tuple(deletions),
        )
        # an unchanged document was not split: were it gone by now, it would come back without passages
        if unchanged_documents(session, self._collection.id, prepared.unchanged) != set(prepared.unchanged):
            raise EmbeddingsMissing
        return Ingested(
            receipt=commit(session, batch),
            failed=[*prepared.refused, *embedded.failed],
            truncated=embedded.truncated,
            passages=len(embedded.embeddings),
            tokens=embedded.tokens,
        )

    def _commit(self, prepared: Prepared, embedded: Embedded, seal: Seal | None, deletions: Sequence[str]) -> Ingested:
        with self._database.write() as session:
            ingested = self.write(session, prepared, embedded, deletions=deletions)
            if seal is not None:
                seal(session, ingested)
            return ingested

    def _terms(self, drafts: Sequence[Drafted], missing: AbstractSet[bytes]) -> dict[bytes, Mapping[str, float]]:
        if self._analyzer is None:
            return {}
        return {sha: terms for drafted in drafts for sha, terms in self._drafter.terms(drafted, missing).items()}
