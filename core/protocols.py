"""Protocols (interfaces) between packages: encoders, sparse encoders, rerankers, and how they are looked up."""

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

Progress = Callable[[int], None]  # called with the number of items finished since the last call


class Priority(IntEnum):
    """The order in which a model serves waiting callers. Within one priority: first come, first served."""

    INTERACTIVE = 0  # somebody waits for the answer: searches, requests of the embedding APIs
    BULK = 1  # ingest and reindex
    NICE = 2  # callers that asked to be served after all others


class Encoder(Protocol):
    """Embeds prompts as dense vectors. Thread-safe; the same text gives the same vector in any batch.

    A method that reads prompts fails for the whole list, without partial results. It raises:

    - InvalidControl if a control cannot act on this model, or the controls suppress all of a prompt;
    - InvalidInput if the model cannot read a prompt: an unsupported kind of item, a token id that is not in its
      vocabulary, a text that its API refuses;
    - RemoteUnavailable if a remote model cannot be reached or asks to wait (no prompt is at fault);
    - RemoteRefused or RemoteMismatch if a remote model refuses the request, or its answer does not fit it;
    - Abandoned if nobody waits for the answer any more, see core.context (no prompt is at fault);
    - any exception of the library that runs a local model, unchanged: RuntimeError for lack of memory, for example.

    If no prompt is at fault, other prompts would fail as well; after the other errors, they may succeed.
    """

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """Identifies everything that a vector depends on: encoders with equal fingerprints agree within 1e-5."""
        ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Maximum tokens that the model reads of a prompt, including special tokens and the representation's prefix."""
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
        """Embed `prompts`, in order. Raises the errors listed for the class.

        The vectors are float32, (prompts, dimension), of unit length; an empty list gives an array of shape
        (0, dimension). They may contain values that are not finite; code that stores them must check.
        """
        ...

    def trace(
        self, prompts: Sequence[Prompt], representation: Representation, *, options: ControlOptions = ...
    ) -> list[TokenTrace] | None:
        """The token vectors behind each prompt's embedding, in order; None if it is not a mean of token vectors.

        A trace has the tokens that `encode` reads: vectors float32, (tokens, dimension), weights float64, (tokens,).
        Raises the errors of `encode`.
        """
        ...

    def token_spans(self, text: str) -> Int64Array:
        """(tokens, 2) character spans of the model's tokens of `text`, without special tokens or truncation."""
        ...

    def overhead(self, representation: Representation) -> int:
        """Tokens that this representation adds to every prompt: special tokens and prefix."""
        ...


class SparseEncoder(Protocol):
    """Embeds prompts as learned sparse vectors over a token vocabulary. Thread-safe; the batch does not matter."""

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
        """Weights of vocabulary tokens for each of `prompts`, in order: ids int32, ascending; weights float32, above 0.

        A prompt may have none. Raises the errors of Encoder.encode.
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
        """The token activations behind the weights of the ids `terms[i]` in prompt i; None if the model has none.

        Raises the errors of Encoder.encode.
        """
        ...

    def token(self, id: int) -> str:
        """The vocabulary token with this id."""
        ...


@runtime_checkable
class HybridEncoder(Encoder, SparseEncoder, Protocol):
    """Computes dense and sparse vectors in one forward pass."""

    def encode_hybrid(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = ...,
        priority: Priority = ...,
        progress: Progress | None = None,
    ) -> tuple[Embeddings, SparseEmbeddings]:
        """The results of `encode` and `encode_sparse` for `prompts`, at the cost of one. Raises their errors."""
        ...


@runtime_checkable
class TracingEncoder(Protocol):
    """An encoder that returns embeddings and their token traces from the same forward pass."""

    def encode_traced(
        self, prompts: Sequence[Prompt], representation: Representation, *, options: ControlOptions = ...
    ) -> tuple[Embeddings, list[TokenTrace] | None]:
        """The results of `Encoder.encode` and `Encoder.trace`. Raises their errors."""
        ...


@runtime_checkable
class GradientEncoder(Protocol):
    """An encoder whose network can be differentiated."""

    def integrated_gradients(
        self, prompt: Prompt, representation: Representation, direction: Float64Array, *, steps: int = ...
    ) -> TokenAttributions:
        """Attribute the prompt's cosine with `direction`, (dimension,) of unit length, to the prompt's tokens."""
        ...


SparseModels = Callable[[str], SparseEncoder]  # by name; raises ModelNotFound, ModelError, InvalidInput

# The encoder of a collection's vectors, loaded on first use and shared. Raises ModelMismatch if no configured
# encoder has the fingerprint, ModelError if it cannot be loaded, RemoteError.
DenseModels = Callable[[Collection], Encoder]


@dataclass(frozen=True, kw_only=True, slots=True)
class RanBatch:
    """One forward pass, as reported to an observer."""

    priority: Priority
    texts: int
    tokens: int
    seconds: float


BatchObserver = Callable[[RanBatch], None]  # called in the thread that ran the batch: must be quick and not raise


@runtime_checkable
class Observable(Protocol):
    """A model whose callers share one network, one batch at a time."""

    def observe(self, observer: BatchObserver) -> None:
        """Call `observer` after every batch from now on."""
        ...

    def waiting(self) -> Mapping[Priority, int]:
        """How many callers are waiting now, by priority, including those whose texts are being computed."""
        ...


class Reranker(Protocol):
    """A cross-encoder, which reads query and document together and judges their relevance. Thread-safe."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def rerank(self, query: str, documents: Sequence[str]) -> Relevance:
        """The relevance of each document, in order, and the tokens that the model read, which core.context counts too.

        Scores are float64, (documents,), from 0 to 1. Raises the errors of Encoder.encode, except InvalidControl.
        """
        ...


Rerankers = Callable[[str], Reranker]  # by name; raises ModelNotFound, ModelError, InvalidInput
