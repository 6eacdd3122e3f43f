"""What one package promises another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, runtime_checkable

from core.prompts import ControlOptions, Prompt
from core.records import (
    Collection,
    Embeddings,
    Float64Array,
    Int32Array,
    Int64Array,
    Relevance,
    Representation,
    SparseEmbeddings,
    SparseTrace,
    TokenAttributions,
    TokenTrace,
)

Progress = Callable[[int], None]  # called with the number of items that were finished since the last call


class Priority(IntEnum):
    """Whose prompts a model reads first, when several callers wait. Within one priority, first come first served."""

    INTERACTIVE = 0  # somebody waits for the answer: searches, requests of the embedding APIs
    BULK = 1  # ingest and reindex
    NICE = 2  # a caller that asked to be served behind all others


class Encoder(Protocol):
    """Prompts and a representation to dense vectors. Thread-safe; the same text gives the same vector in any batch.

    Whatever reads prompts raises for the whole list, and returns nothing of it:

    - InvalidControl, where a control cannot act on this model, or the controls suppress all of a prompt;
    - InvalidInput, where the model cannot read a prompt: an item of a kind that it does not take, an id that its
      vocabulary lacks, a text that its API refuses;
    - RemoteUnavailable, where a remote model cannot be reached or asks to wait: no prompt is at fault;
    - RemoteRefused and RemoteMismatch, where it refuses the request, or answers with what does not fit it;
    - Abandoned, where nobody waits for the answer any more (core.context): no prompt is at fault;
    - what the library that runs a local model raises, as it is: RuntimeError for lack of memory, for example.

    After those of which no prompt is at fault, no other will fare better; after the rest, others may.
    """

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """Identifies everything that a vector depends on: two encoders of one fingerprint agree within 1e-5."""
        ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Tokens that the model reads of a prompt at most, special tokens and the representation's prefix included."""
        ...

    def encode(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = ...,
        priority: Priority = ...,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Embed `prompts`, in order. Raises as the class says.

        The vectors are float32, (prompts, dimension), of unit length; an empty list gives an array of shape
        (0, dimension). They may hold what is not finite: whoever stores them looks.
        """
        ...

    def trace(
        self, prompts: Sequence[Prompt], representation: Representation, *, options: ControlOptions = ...
    ) -> list[TokenTrace] | None:
        """What each prompt's embedding is made of, in order; None where it is no mean of token vectors.

        A trace has the prompt's tokens as `encode` reads them: vectors float32, (tokens, dimension), weights float64,
        (tokens,). Raises as `encode` does.
        """
        ...

    def token_spans(self, text: str) -> Int64Array:
        """(tokens, 2) character spans of the model's tokens of `text`, without special tokens and without a cut."""
        ...

    def overhead(self, representation: Representation) -> int:
        """Tokens that every prompt of this representation costs beside its own: special tokens and prefix."""
        ...


class SparseEncoder(Protocol):
    """Prompts to learned sparse vectors over a vocabulary of tokens. Thread-safe, and the same in any batch."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def max_tokens(self) -> int: ...

    def encode_sparse(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = ...,
        priority: Priority = ...,
        progress: Progress | None = None,
    ) -> SparseEmbeddings:
        """Weights of vocabulary tokens for each of `prompts`, in order: ids int32, rising; weights float32, above 0.

        A prompt may have none. Raises as Encoder.encode does.
        """
        ...

    def trace_sparse(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        terms: Sequence[Int32Array],
        *,
        options: ControlOptions = ...,
    ) -> list[SparseTrace] | None:
        """What the weights of the token ids `terms[i]` in prompt i are made of; None where the model does not tell.

        Raises as Encoder.encode does.
        """
        ...

    def token(self, id: int) -> str:
        """The vocabulary's token of an id."""
        ...


@runtime_checkable
class HybridEncoder(Encoder, SparseEncoder, Protocol):
    """Dense and sparse vectors out of one forward pass."""

    def encode_hybrid(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = ...,
        priority: Priority = ...,
        progress: Progress | None = None,
    ) -> tuple[Embeddings, SparseEmbeddings]:
        """What `encode` and `encode_sparse` make of `prompts`, both in order, at the cost of one. Raises as they do."""
        ...


@runtime_checkable
class TracingEncoder(Protocol):
    """An encoder that tells in the same forward pass what it made and what of."""

    def encode_traced(
        self, prompts: Sequence[Prompt], representation: Representation, *, options: ControlOptions = ...
    ) -> tuple[Embeddings, list[TokenTrace] | None]:
        """The very vectors of `Encoder.encode`, and what `Encoder.trace` tells. Raises as they do."""
        ...


@runtime_checkable
class GradientEncoder(Protocol):
    """An encoder whose network can be differentiated."""

    def integrated_gradients(
        self, prompt: Prompt, representation: Representation, direction: Float64Array, *, steps: int = ...
    ) -> TokenAttributions:
        """`direction`: (dimension,) of unit length, whose cosine with the prompt's embedding is explained."""
        ...


SparseModels = Callable[[str], SparseEncoder]  # by name; raises ModelNotFound, ModelError, InvalidInput

# The encoder that a collection was embedded by, loaded when it is first asked for, and one for all who ask.
# Raises ModelMismatch where there is none of its fingerprint, ModelError where it cannot be loaded, RemoteError.
DenseModels = Callable[[Collection], Encoder]


@dataclass(frozen=True, kw_only=True, slots=True)
class RanBatch:
    """One forward pass, as it is told to an observer."""

    priority: Priority
    texts: int
    tokens: int
    seconds: float


BatchObserver = Callable[[RanBatch], None]  # called in the thread that ran the batch: it must be quick, and not raise


@runtime_checkable
class Observable(Protocol):
    """A model whose callers take turns at one network."""

    def observe(self, observer: BatchObserver) -> None:
        """Tell `observer` of every batch from now on."""
        ...

    def waiting(self) -> Mapping[Priority, int]:
        """How many callers are in line now, of each priority; those whose texts are being computed, too."""
        ...


class Reranker(Protocol):
    """Judges query and document together (a cross-encoder). Thread-safe."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def rerank(self, query: str, documents: Sequence[str]) -> Relevance:
        """The relevance of each document, in order, and what the model read to tell; core.context counts it, too.

        Scores are float64, (documents,), from 0 to 1. Raises as Encoder.encode does, but for InvalidControl.
        """
        ...


Rerankers = Callable[[str], Reranker]  # by name; raises ModelNotFound, ModelError, InvalidInput
