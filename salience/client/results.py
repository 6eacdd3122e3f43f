"""What the server answers, as frozen dataclasses. Spans are half-open and count Unicode code points.

Their fields are those of the API's own answers, described in its documentation; a field that only a newer server knows
is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, overload

JobState = Literal["queued", "running", "waiting", "done", "failed", "cancelled"]
ENDED: tuple[JobState, ...] = ("done", "failed", "cancelled")
Value = str | int | float | bool | None  # of a metadata field


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    start: int  # first character
    end: int  # one past the last


# --- collections ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    name: str
    documents: int
    passages: int
    settings: Mapping[str, Any]
    generation: int  # the embedding that answers searches
    model: str
    dimension: int
    created_at: str  # ISO 8601
    sparse_model: str | None = None  # that the learned weights are made by


@dataclass(frozen=True, kw_only=True, slots=True)
class Segments:
    files: int
    rows: int  # passages in them
    tombstones: int  # of the rows: those that are gone
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectionStats:
    name: str
    seq: int  # of the newest change
    documents: int
    passages: int
    unsealed: int  # passages that are in no segment yet, nor brought to Milvus
    elsewhere: int = 0  # passages that Milvus holds
    embeddings: int  # passages with the same text share one
    terms: int
    vector_bytes: int
    posting_bytes: int
    learned_bytes: int
    segments: Segments


# --- documents and jobs -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentControl:
    """How much say a part of a document's text has: 0 leaves it out, 1 changes nothing."""

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
    next: str | None = None  # id behind which the next page begins; None: this is the last one


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordFailure:
    """A document, or a line that is none, that could not be used."""

    code: str
    reason: str
    id: str | None = None
    path: str | None = None
    line: int | None = None  # 1-based place in what was sent


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteReport:
    """What became of documents that are searchable now."""

    seq: int  # a search with this min_seq sees the change
    created: int
    replaced: int
    updated: int  # only metadata changed
    unchanged: int
    failed: int
    errors: tuple[RecordFailure, ...]
    truncated: tuple[str, ...]  # ids of documents of which the model did not read all: the first 1,000
    truncated_count: int
    duplicates: tuple[str, ...]  # ids each time that they came again in the same request: the first 1,000
    duplicate_count: int
    passages: int  # that had to be embedded
    tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentChanged:
    seq: int  # a search with this min_seq sees the change
    changed: bool  # False: the metadata was so before


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
    total: int  # documents, and lines that could not be read as one
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
    seq: int  # a search with this min_seq sees all that was committed
    attempts: int  # failures since the last success
    reason: str | None = None  # why it waits, or failed
    ended_at: str | None = None
    rate: float | None = None  # documents a second
    seconds_left: float | None = None
    worker: str | None = None
    errors: tuple[RecordFailure, ...] = ()  # the first ones, where a single job is asked for

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
    vectors: tuple[tuple[float, ...], ...]  # of length 1, in the order of the texts
    model: str
    tokens: int  # that the model read
    truncated: tuple[int, ...]  # places of texts of which it did not read all


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    index: int  # of the document in what was sent
    relevance_score: float  # 0 to 1 by a cross-encoder, a cosine by any other model


@dataclass(frozen=True, kw_only=True, slots=True)
class Reranking:
    """What was ranked, best first: iterated, indexed and measured as the tuple of it."""

    results: tuple[Ranked, ...]
    tokens: int  # that the model read
    truncated: tuple[int, ...]  # places of documents of which it did not read all, or not beside all of the query

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
    details: Mapping[str, Any]  # what the server says of its parts
