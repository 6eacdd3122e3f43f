"""The server's answers, as frozen dataclasses. Spans are half-open and count Unicode code points.

The fields are those of the API's answers, described in its documentation; unknown fields of a newer server are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, overload

JobState = Literal["queued", "running", "waiting", "done", "failed", "cancelled"]
ENDED: tuple[JobState, ...] = ("done", "failed", "cancelled")
Value = str | int | float | bool | None  # the value of a metadata field


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    start: int  # first character
    end: int  # one past the last character


# --- collections ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    name: str
    documents: int
    passages: int
    settings: Mapping[str, Any]
    generation: int  # the embedding that serves searches
    model: str
    dimension: int
    created_at: str  # ISO 8601
    sparse_model: str | None = None  # the model of the learned weights


@dataclass(frozen=True, kw_only=True, slots=True)
class Segments:
    files: int
    rows: int  # passages in them
    tombstones: int  # rows whose passages were deleted
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectionStats:
    name: str
    seq: int  # of the newest change
    documents: int
    passages: int
    unsealed: int  # passages that are not yet in a segment or in Milvus
    elsewhere: int = 0  # passages in Milvus
    embeddings: int  # passages with the same text share one
    terms: int
    vector_bytes: int
    posting_bytes: int
    learned_bytes: int
    segments: Segments


# --- documents and jobs -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentControl:
    """How much a part of a document's text counts: 0 leaves it out, 1 changes nothing."""

    start: int  # first character
    length: int
    factor: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    id: str
    title: str
    text: str
    metadata: Mapping[str, Any]
    language: str
    passages: tuple[Span, ...]
    controls: tuple[DocumentControl, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentPage:
    documents: tuple[Document, ...]
    next: str | None = None  # the id after which the next page begins; None: this is the last page


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordFailure:
    """A document or line that could not be used."""

    code: str
    reason: str
    id: str | None = None
    path: str | None = None
    line: int | None = None  # 1-based place in the request


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteReport:
    """The result of writing documents, which are now searchable."""

    seq: int  # a search with this min_seq sees the change
    created: int
    replaced: int
    updated: int  # only metadata changed
    unchanged: int
    failed: int
    errors: tuple[RecordFailure, ...]
    truncated: tuple[str, ...]  # ids of documents that the model read only in part: the first 1,000
    truncated_count: int
    duplicates: tuple[str, ...]  # ids, once for each repetition in the same request: the first 1,000
    duplicate_count: int
    passages: int  # passages that had to be embedded
    tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentChanged:
    seq: int  # a search with this min_seq sees the change
    changed: bool  # False: the metadata was already like that


@dataclass(frozen=True, kw_only=True, slots=True)
class Deletion:
    seq: int
    deleted: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    id: int
    collection: str
    state: JobState
    created_at: str
    total: int  # documents, and lines that could not be read as documents
    pending: int
    failed: int
    created: int
    replaced: int
    updated: int
    unchanged: int
    duplicates: int
    truncated: int
    passages: int
    tokens: int
    seq: int  # a search with this min_seq sees everything committed
    attempts: int  # failures since the last success
    reason: str | None = None  # why it waits, or failed
    ended_at: str | None = None
    rate: float | None = None  # documents per second
    seconds_left: float | None = None
    worker: str | None = None
    errors: tuple[RecordFailure, ...] = ()  # the first ones, if a single job was requested

    @property
    def ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True, kw_only=True, slots=True)
class JobPage:
    jobs: tuple[Job, ...]
    next: int | None = None


# --- embedding and reranking ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Embeddings:
    vectors: tuple[tuple[float, ...], ...]  # of unit length, in the order of the texts
    model: str
    tokens: int  # tokens that the model read
    truncated: tuple[int, ...]  # indexes of texts that it read only in part


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    index: int  # of the document in the request
    relevance_score: float  # 0 to 1 from a cross-encoder, a cosine from any other model


@dataclass(frozen=True, kw_only=True, slots=True)
class Reranking:
    """Ranked documents, best first. Supports iteration, indexing and len() like the tuple `results`."""

    results: tuple[Ranked, ...]
    tokens: int  # tokens that the model read
    truncated: tuple[int, ...]  # indexes of documents that, with the query, did not fit into the model

    def __iter__(self) -> Iterator[Ranked]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    @overload
    def __getitem__(self, place: int) -> Ranked: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Ranked, ...]: ...
    def __getitem__(self, place: int | slice) -> Ranked | tuple[Ranked, ...]:
        return self.results[place]


# --- the server -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Readiness:
    ready: bool
    details: Mapping[str, Any]  # the server's report on its components
