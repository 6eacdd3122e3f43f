"""The nouns of Salience. Immutable values; offsets are Unicode code points, spans are half open."""

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
    """What a text is embedded as: models may treat the two sides of a search differently."""

    DOCUMENT = "document"
    QUERY = "query"
    SYMMETRIC = "symmetric"


class GenerationState(StrEnum):
    ACTIVE = "active"  # one for each collection, a hidden one that a reindex fills included
    RETIRED = "retired"  # its collection was deleted, and its rows go piece by piece


class SparseScoring(StrEnum):
    """What the sparse side of a collection scores passages by."""

    BM25 = "bm25"  # terms of the lexical analysis
    LEARNED = "learned"  # weights of a learned sparse model, in place of BM25
    BOTH = "both"  # each by itself

    @classmethod
    def meant_by(cls, sparse_model: str | None) -> SparseScoring:
        """What is meant where a sparse model is named, or none, and nothing else is said."""
        return cls.BM25 if sparse_model is None else cls.LEARNED


class IndexKind(StrEnum):
    """How the dense side of a collection finds the nearest passages. Their scores are exact with every kind."""

    AUTO = "auto"  # read all vectors while they are few, then scan short codes of them
    EXACT = "exact"  # always read all vectors: slower, and nothing is missed
    HNSW = "hnsw"  # walk a graph; filtered searches scan codes
    MILVUS = "milvus"  # a Milvus elsewhere holds the passages, for both legs


class FieldKind(StrEnum):
    """The type of a filterable metadata value."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"  # an instant; only where it is declared
    GEO = "geo"  # a place on the globe; only where it is declared
    NULL = "null"  # of an explicit null; cannot be declared


DECLARABLE = (FieldKind.TEXT, FieldKind.NUMBER, FieldKind.BOOLEAN, FieldKind.DATE, FieldKind.GEO)


MAX_K1 = 10.0  # of BM25: 0.5 to 2 are in use, and beyond 10 a word counts as often as it is there


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectionSettings:
    """How the documents of a collection become passages, terms and filterable fields."""

    language: str = "auto"  # ISO 639-1 code, or "auto": detected for each document
    passage_tokens: int | None = None  # tokens of a passage at most, title included; None: what the model reads
    overlap_tokens: int = 32  # tokens that a passage repeats from the one before, at most
    whole_documents: bool = False  # one passage a document, cut by the model where it is too long
    k1: float = 1.2  # BM25 term frequency saturation, 0..MAX_K1
    b: float = 0.75  # BM25 length normalisation, 0..1
    title_weight: int = 2  # how often BM25 counts a word of the title, 0..MAX_TITLE_WEIGHT; models read it once
    alpha: float = 0.5  # weight of the dense leg in a search that names none, 0..1
    sparse: SparseScoring = SparseScoring.BM25
    index: IndexKind = IndexKind.AUTO
    fields: Mapping[str, FieldKind] = field(default_factory=dict)  # declared metadata fields; others are found
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # what BM25 looks for beside a query's words


@dataclass(frozen=True, kw_only=True, slots=True)
class Scoring:
    """The settings of a collection that searches score by, and that nothing stored depends on."""

    alpha: float = 0.5  # as in CollectionSettings, these and the defaults
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
    sparse_model: str | None = None  # the sparse encoder's name, where the collection has learned weights
    sparse_fingerprint: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """What a user put in."""

    id: str  # the user's own (external) id, unique in its collection
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)  # JSON values
    controls: tuple[TextControl, ...] = ()  # on spans of the text, factors 0 or more, in order of their starts


class JobState(StrEnum):
    """Where a job is."""

    RECEIVING = "receiving"  # its documents are still coming in; not shown to anybody
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"  # a try failed; the next one comes by itself
    DONE = "done"
    FAILED = "failed"  # given up; what it has not done is kept for another try
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Documents that are to be added to a collection, and how far that is. Numbers are those of documents."""

    id: int
    collection: str  # its name when the job was made
    collection_id: int | None  # None: it was deleted
    state: JobState
    reason: str | None  # why it waits, or failed
    attempts: int  # failures since the last success
    worker: str | None  # who works on it
    created_at: float  # seconds since 1970, UTC
    ended_at: float | None
    total: int  # documents, and records that could not become one
    pending: int
    failed: int
    created: int
    replaced: int
    updated: int
    unchanged: int
    duplicates: int  # ids that came again; the last one counts
    truncated: int  # documents of which the model did not read all
    passages: int  # that had to be embedded
    tokens: int  # that the model read
    seq: int  # a view of this seq or a higher one holds all that was committed; 0: nothing was
    busy_seconds: float  # that workers spent on it

    @property
    def ended(self) -> bool:
        return self.state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)

    @property
    def rate(self) -> float | None:
        """Documents a second while it is worked on; None before the first."""
        committed = self.created + self.replaced + self.updated + self.unchanged
        return committed / self.busy_seconds if committed and self.busy_seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Work at the rate so far; None where that is unknown, or the job has ended."""
        return None if self.rate is None or self.ended else self.pending / self.rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A character span of a document's text: the unit of embedding and retrieval."""

    start: int  # first character
    end: int  # one past the last character
    fresh: int  # where the part begins that the passage before does not hold; start where nothing overlaps


@dataclass(frozen=True, kw_only=True, slots=True)
class Embeddings:
    """What an encoder made of a list of prompts, in their order."""

    vectors: Float32Array  # (prompts, dimension), unit length
    token_counts: Int64Array  # (prompts,) tokens that the model read, special tokens included
    truncated: BoolArray  # (prompts,) whether tokens were cut off


@dataclass(frozen=True, kw_only=True, slots=True)
class Relevance:
    """What a reranker said of a list of documents, in their order."""

    scores: Float64Array  # (documents,) higher is more relevant, 0 to 1
    token_counts: Int64Array  # (documents,) tokens that the model read of each pair, special tokens included
    truncated: BoolArray  # (documents,) whether the model did not read all of the document and the query beside it


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseVector:
    """Weights of vocabulary tokens; all others are 0."""

    ids: Int32Array  # (terms,) rising
    weights: Float32Array  # (terms,) above 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseEmbeddings:
    """What a sparse encoder made of a list of prompts, in their order."""

    vectors: tuple[SparseVector, ...]
    token_counts: Int64Array  # (prompts,) tokens that the model read, special tokens included
    truncated: BoolArray  # (prompts,) whether tokens were cut off


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenTrace:
    """What a mean-pooled embedding is made of: the weighted mean of token vectors, brought to unit length."""

    spans: Int64Array  # (tokens, 2) characters of the token's own text item; (0, 0) for all other tokens
    special: BoolArray  # (tokens,) whether the token is special or belongs to the representation's prefix
    vectors: Float32Array  # (tokens, dimension)
    weights: Float64Array  # (tokens,) >= 0, with a positive sum


class TermPooling(StrEnum):
    """How the tokens of a text make the weight of a vocabulary token."""

    MAX = "max"
    SUM = "sum"


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseTrace:
    """What chosen weights of a learned sparse vector are made of: those of its text's tokens, pooled."""

    spans: Int64Array  # (tokens, 2) characters of the token's own text item; (0, 0) for all other tokens
    special: BoolArray  # (tokens,) whether the token is special or belongs to the representation's prefix
    activations: Float32Array  # (tokens, terms) >= 0; pooled over the tokens they are the terms' weights
    pooling: TermPooling


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenAttributions:
    """What each token of a text adds to a cosine."""

    spans: Int64Array  # (tokens, 2) characters of the token's own text item; (0, 0) for all other tokens
    special: BoolArray  # (tokens,)
    values: Float64Array  # (tokens,) signed
    cosine: float
    baseline: float  # the cosine of the text that says nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class LegScore:
    """What one leg, or a reranker, said of a hit."""

    raw: float  # its own score: cosine, BM25, the dot product of learned weights; a reranker's relevance
    rank: int | None  # 1-based rank in the leg's pool, of a reranker in its window; None where the hit was not in it
    norm: float  # what the fusion made of the raw score, before weighting; a reranker's relevance
    weight: float  # its weight in the hit's score


@dataclass(frozen=True, kw_only=True, slots=True)
class Highlight:
    """Where a hit says the words of the query: spans of characters, in text order."""

    passage: tuple[tuple[int, int], ...]  # in the passage's text
    title: tuple[tuple[int, int], ...]
    sentence: tuple[int, int] | None  # of the passage, the one that says most of them; None where it says none


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A ranked passage. `score` is the sum of weight * norm over `scores`; of a judged hit with a constant added."""

    id: int  # passage id, never reused
    document_id: str
    title: str
    metadata: Mapping[str, Any]
    passage: Passage
    text: str  # the passage's text
    score: float
    scores: Mapping[str, LegScore]  # by leg: "dense", "sparse", "learned"; and "rerank", where it was judged
    explanation: HitExplanation | None = None
    highlight: Highlight | None = None
    controls: tuple[TextControl, ...] = ()  # of the document, on spans of the passage's text
