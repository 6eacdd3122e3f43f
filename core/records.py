"""The data types of Salience, as immutable values. Offsets count Unicode code points; spans are half open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from core.prompts import TextControl
from core.reasons import HitExplanation

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class Representation(StrEnum):
    """The role in which a text is embedded: models may treat the two sides of a search differently."""

    DOCUMENT = "document"
    QUERY = "query"
    SYMMETRIC = "symmetric"


class GenerationState(StrEnum):
    ACTIVE = "active"  # exactly one for each collection, including the hidden one that a reindex fills
    RETIRED = "retired"  # its collection was deleted; its rows are removed gradually


class SparseScoring(StrEnum):
    """How the sparse side of a collection scores passages."""

    BM25 = "bm25"  # terms of the lexical analysis
    LEARNED = "learned"  # weights of a learned sparse model, instead of BM25
    BOTH = "both"  # each separately

    @classmethod
    def meant_by(cls, sparse_model: str | None) -> SparseScoring:
        """The default: LEARNED if a sparse model is named, else BM25."""
        return cls.BM25 if sparse_model is None else cls.LEARNED


class IndexKind(StrEnum):
    """How the dense side of a collection finds the nearest passages. Their scores are exact with every kind."""

    AUTO = "auto"  # read all vectors of small collections; for larger ones scan short codes of the vectors
    EXACT = "exact"  # always read all vectors: slower, but nothing is missed
    HNSW = "hnsw"  # walk a graph; filtered searches scan codes
    MILVUS = "milvus"  # an external Milvus holds the passages, for both legs


class FieldKind(StrEnum):
    """The type of a filterable metadata value."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"  # an instant; only if declared
    GEO = "geo"  # a place on the globe; only if declared
    NULL = "null"  # an explicit null; cannot be declared


DECLARABLE = (FieldKind.TEXT, FieldKind.NUMBER, FieldKind.BOOLEAN, FieldKind.DATE, FieldKind.GEO)


MAX_K1 = 10.0  # of BM25: usual values are 0.5 to 2; beyond 10 a word's weight is about linear in its count


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectionSettings:
    """How the documents of a collection become passages, terms and filterable fields."""

    language: str = "auto"  # ISO 639-1 code, or "auto": detected for each document
    passage_tokens: int | None = None  # maximum tokens of a passage, title included; None: the model's maximum
    overlap_tokens: int = 32  # maximum tokens that a passage repeats from the previous one
    whole_documents: bool = False  # one passage per document, truncated by the model if it is too long
    k1: float = 1.2  # BM25 term frequency saturation, 0..MAX_K1
    b: float = 0.75  # BM25 length normalisation, 0..1
    title_weight: int = 2  # how often BM25 counts a word of the title, 0..MAX_TITLE_WEIGHT; models read it once
    alpha: float = 0.5  # default weight of the dense leg in a search, 0..1
    sparse: SparseScoring = SparseScoring.BM25
    index: IndexKind = IndexKind.AUTO
    fields: Mapping[str, FieldKind] = field(default_factory=dict)  # declared metadata fields; others are inferred
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by word: what BM25 looks for as well


@dataclass(frozen=True, kw_only=True, slots=True)
class Scoring:
    """The settings of a collection that affect only the scores of searches, and nothing stored."""

    alpha: float = 0.5  # fields and defaults as in CollectionSettings
    k1: float = 1.2
    b: float = 0.75


@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    """Documents under one name, and the generation that answers its searches."""

    id: int
    name: str
    settings: CollectionSettings
    active: Generation
    created_at: str  # ISO 8601, UTC


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """One embedding of a collection by one encoder."""

    id: int
    collection_id: int
    model: str  # the encoder's name
    fingerprint: str  # the encoder's fingerprint: weights, tokenizer, pooling, prompts, dimension
    dimension: int  # of a dense vector
    state: GenerationState
    sparse_model: str | None = None  # the sparse encoder's name, if the collection has learned weights
    sparse_fingerprint: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A document as the user submitted it."""

    id: str  # the user's own (external) id, unique in its collection
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)  # JSON values
    controls: tuple[TextControl, ...] = ()  # on spans of the text, factors 0 or more, ordered by start


class JobState(StrEnum):
    """The state of a job."""

    RECEIVING = "receiving"  # its documents are still being received; not shown to anybody
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"  # an attempt failed; it will be retried automatically
    DONE = "done"
    FAILED = "failed"  # given up; the remaining documents are kept for another attempt
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Documents to be added to a collection, and the progress. Unless noted otherwise, counts are of documents."""

    id: int
    collection: str  # its name when the job was created
    collection_id: int | None  # None: the collection was deleted
    state: JobState
    reason: str | None  # why it waits, or failed
    attempts: int  # failures since the last success
    worker: str | None  # the worker that has the job
    created_at: float  # seconds since 1970, UTC
    ended_at: float | None
    total: int  # documents, and records that could not become documents
    pending: int
    failed: int
    created: int
    replaced: int
    updated: int
    unchanged: int
    duplicates: int  # repeated ids; the last document of an id counts
    truncated: int  # documents that the model read only in part
    passages: int  # passages that had to be embedded
    tokens: int  # tokens that the model read
    seq: int  # a view of this seq or a higher one includes everything committed; 0: nothing was committed
    busy_seconds: float  # time that workers spent on it

    @property
    def ended(self) -> bool:
        return self.state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)

    @property
    def rate(self) -> float | None:
        """Documents per second of work; None before the first."""
        committed = self.created + self.replaced + self.updated + self.unchanged
        return committed / self.busy_seconds if committed and self.busy_seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Remaining work in seconds at the rate so far; None if that is unknown, or the job has ended."""
        return None if self.rate is None or self.ended else self.pending / self.rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A character span of a document's text: the unit of embedding and retrieval."""

    start: int  # first character
    end: int  # one past the last character
    fresh: int  # end of the overlap with the previous passage; equals `start` if there is none


@dataclass(frozen=True, kw_only=True, slots=True)
class Embeddings:
    """The dense vectors of a list of prompts, in order."""

    vectors: Float32Array  # (prompts, dimension), unit length
    token_counts: Int64Array  # (prompts,) tokens that the model read, special tokens included
    truncated: BoolArray  # (prompts,) whether tokens were cut off


@dataclass(frozen=True, kw_only=True, slots=True)
class Relevance:
    """A reranker's judgement of a list of documents, in order."""

    scores: Float64Array  # (documents,) higher is more relevant, 0 to 1
    token_counts: Int64Array  # (documents,) tokens that the model read of each pair, special tokens included
    truncated: BoolArray  # (documents,) whether the model read only part of the document and the query


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseVector:
    """Weights of vocabulary tokens; all others are 0."""

    ids: Int32Array  # (terms,) ascending
    weights: Float32Array  # (terms,) above 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseEmbeddings:
    """The learned sparse vectors of a list of prompts, in order."""

    vectors: tuple[SparseVector, ...]
    token_counts: Int64Array  # (prompts,) tokens that the model read, special tokens included
    truncated: BoolArray  # (prompts,) whether tokens were cut off


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenTrace:
    """The token vectors and weights of a mean-pooled embedding: their weighted mean, scaled to unit length."""

    spans: Int64Array  # (tokens, 2) characters of the token's own text item; (0, 0) for all other tokens
    special: BoolArray  # (tokens,) whether the token is special or belongs to the representation's prefix
    vectors: Float32Array  # (tokens, dimension)
    weights: Float64Array  # (tokens,) >= 0, with a positive sum


class TermPooling(StrEnum):
    """How the activations of a text's tokens are pooled into the weight of a vocabulary token."""

    MAX = "max"
    SUM = "sum"


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseTrace:
    """The activations of a text's tokens whose pooling gives selected weights of a learned sparse vector."""

    spans: Int64Array  # (tokens, 2) characters of the token's own text item; (0, 0) for all other tokens
    special: BoolArray  # (tokens,) whether the token is special or belongs to the representation's prefix
    activations: Float32Array  # (tokens, terms) >= 0; pooled over the tokens, they give the terms' weights
    pooling: TermPooling


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenAttributions:
    """The contribution of each token of a text to a cosine."""

    spans: Int64Array  # (tokens, 2) characters of the token's own text item; (0, 0) for all other tokens
    special: BoolArray  # (tokens,)
    values: Float64Array  # (tokens,) signed
    cosine: float
    baseline: float  # the cosine of the baseline, a text without content


@dataclass(frozen=True, kw_only=True, slots=True)
class LegScore:
    """The score of a hit in one leg, or from a reranker."""

    raw: float  # the leg's own score: cosine, BM25, dot product of learned weights; a reranker's relevance
    rank: int | None  # 1-based rank in the leg's pool or the reranker's window; None if the hit was not in it
    norm: float  # the raw score as normalised by the fusion, before weighting; a reranker's relevance
    weight: float  # its weight in the hit's score


@dataclass(frozen=True, kw_only=True, slots=True)
class Highlight:
    """Where a hit contains the words of the query: character spans, in text order."""

    passage: tuple[tuple[int, int], ...]  # in the passage's text
    title: tuple[tuple[int, int], ...]
    sentence: tuple[int, int] | None  # the best matching sentence of the passage; None if it contains no query word


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A ranked passage. `score` is the sum of weight * norm over `scores`, plus a constant if it was reranked."""

    id: int  # passage id, never reused
    document_id: str
    title: str
    metadata: Mapping[str, Any]
    passage: Passage
    text: str  # the passage's text
    score: float
    scores: Mapping[str, LegScore]  # by leg: "dense", "sparse", "learned"; and "rerank" if it was reranked
    explanation: HitExplanation | None = None
    highlight: Highlight | None = None
    controls: tuple[TextControl, ...] = ()  # the document's controls, on spans of the passage's text
