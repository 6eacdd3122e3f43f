"""Dense and hybrid encoders that get their vectors from a remote service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from core.context import current_priority
from core.errors import InvalidInput, InvalidSettings
from core.prompts import ControlOptions, ImageItem, Prompt
from core.protocols import Priority, Progress
from core.records import (
    Embeddings,
    Int32Array,
    Int64Array,
    Representation,
    SparseEmbeddings,
    SparseTrace,
    SparseVector,
    TokenTrace,
)
from embedder.remote.config import RemoteConfig
from embedder.remote.exchange import EncodingTask, Exchange, Part, SizedPrompt
from embedder.remote.names import TokenNames
from embedder.remote.tokens import TokenCounter, fitted
from embedder.remote.transport import Transport
from embedder.remote.wire import Wire

DEFAULT_OPTIONS = ControlOptions()


class RemoteEncoder:
    """Dense vectors from a remote. Fulfils core.protocols.Encoder; thread-safe.

    Nothing is sent to the remote until a vector, `dimension` or `fingerprint` is needed; each of these may raise
    RemoteUnavailable, RemoteRefused or RemoteMismatch, and Abandoned if nobody waits for the answer any more. Prompts
    are cut to `max_tokens` before they are sent. A prompt that the remote rejects raises InvalidInput.
    """

    def __init__(
        self, config: RemoteConfig, name: str, *, wire: Wire, transport: Transport, counter: TokenCounter
    ) -> None:
        """Raises InvalidSettings if a prefix leaves no room for a text."""
        self.name = name
        self.max_tokens = config.max_tokens
        self._config = config
        self._wire = wire
        self._transport = transport
        self._counter = counter
        self._exchange = Exchange(config, name, wire=wire, transport=transport, counter=counter)
        for representation in Representation:
            if self.overhead(representation) >= config.max_tokens:
                raise InvalidSettings(
                    f"remote model {name!r}, max_tokens: {config.max_tokens} leaves no room beside the prefix and the "
                    f"special tokens of {representation.value}, which take {self.overhead(representation)}",
                    param="max_tokens",
                )

    @property
    def fingerprint(self) -> str:
        """The fingerprint of all known facts about the remote, such as address, model, revision, version, dimension."""
        return self._exchange.identity().fingerprint

    @property
    def dimension(self) -> int:
        """The dimension of the vectors, as the remote's first answer shows it."""
        dimension: int = self._exchange.identity().dimension
        return dimension

    def encode(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = DEFAULT_OPTIONS,
        priority: Priority = Priority.INTERACTIVE,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Vectors (prompts, dimension) float32 of unit length, in the order of `prompts`.

        Token counts come from the configured tokenizer; without one, the remote's total is divided in proportion to
        estimates. Raises RemoteError; InvalidControl and InvalidInput, with the prompt's `index`, for prompts that the
        API does not support.
        """
        task = EncodingTask(representation=representation, options=options, priority=current_priority(priority))
        items = self._fitted(prompts, task)
        return self._embeddings(self._exchange.ask(items, task, progress))

    def trace(
        self, prompts: Sequence[Prompt], representation: Representation, *, options: ControlOptions = DEFAULT_OPTIONS
    ) -> list[TokenTrace] | None:
        """None: remotes do not return token vectors."""
        return None

    def token_spans(self, text: str) -> Int64Array:
        return self._counter.spans(text)

    def overhead(self, representation: Representation) -> int:
        return self._counter.special_tokens + len(self._counter.spans(self._config.prefix(representation)))

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def _fitted(self, prompts: Sequence[Prompt], task: EncodingTask) -> list[SizedPrompt]:
        overhead = self.overhead(task.representation)
        items = []
        for index, prompt in enumerate(prompts):
            with InvalidInput.indexed(index):
                self._wire.check(prompt, task.options)
                cut, tokens, truncated = fitted(prompt, self.max_tokens - overhead, self._counter)
            beside = 0 if all(isinstance(item, ImageItem) for item in cut.items) else overhead
            items.append(SizedPrompt(prompt=cut, tokens=tokens + overhead, overhead=beside, truncated=truncated))
        return items

    def _embeddings(self, parts: Sequence[Part]) -> Embeddings:
        empty = np.empty((0, self.dimension), dtype=np.float32)
        return Embeddings(
            vectors=np.concatenate([empty, *(part.vectors for part in parts)]),
            token_counts=_token_counts(parts),
            truncated=np.array([cut for part in parts for cut in part.truncated], dtype=np.bool_),
        )


class RemoteHybridEncoder(RemoteEncoder):
    """Dense and sparse vectors from a remote. Fulfils core.protocols.HybridEncoder.

    The remote identifies tokens by their text; `names.TokenNames` maps them to ids.
    """

    def __init__(
        self, config: RemoteConfig, name: str, *, wire: Wire, transport: Transport, counter: TokenCounter
    ) -> None:
        super().__init__(config, name, wire=wire, transport=transport, counter=counter)
        self._names = TokenNames()

    def encode_sparse(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = DEFAULT_OPTIONS,
        priority: Priority = Priority.INTERACTIVE,
        progress: Progress | None = None,
    ) -> SparseEmbeddings:
        """The weights of the remote's tokens for each of `prompts`, in order. Raises as `encode` does."""
        return self.encode_hybrid(prompts, representation, options=options, priority=priority, progress=progress)[1]

    def encode_hybrid(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = DEFAULT_OPTIONS,
        priority: Priority = Priority.INTERACTIVE,
        progress: Progress | None = None,
    ) -> tuple[Embeddings, SparseEmbeddings]:
        """Both kinds of vectors from the same requests. Raises as `encode` does."""
        task = EncodingTask(
            representation=representation, options=options, priority=current_priority(priority), sparse=True
        )
        items = self._fitted(prompts, task)
        parts = self._exchange.ask(items, task, progress)
        dense = self._embeddings(parts)
        vectors = tuple(self._sparse_vector(weights) for part in parts for weights in part.sparse)
        return dense, SparseEmbeddings(vectors=vectors, token_counts=dense.token_counts, truncated=dense.truncated)

    def trace_sparse(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        terms: Sequence[Int32Array],
        *,
        options: ControlOptions = DEFAULT_OPTIONS,
    ) -> list[SparseTrace] | None:
        """None: a remote does not report which part of a text a weight comes from."""
        return None

    def token(self, id: int) -> str:
        """The remote's token of an id, or `#id` if no answer has contained the token since the start."""
        return self._names.name(id)

    def _sparse_vector(self, weights: Mapping[str, float]) -> SparseVector:
        ids: Int32Array = np.array([self._names.id(token) for token in weights], dtype=np.int32)
        values = np.array(list(weights.values()), dtype=np.float32)
        distinct, places = np.unique(ids, return_inverse=True)
        summed = np.bincount(places, weights=values, minlength=len(distinct))
        return SparseVector(ids=distinct, weights=summed.astype(np.float32))


def _token_counts(parts: Sequence[Part]) -> Int64Array:
    return np.array([count for part in parts for count in part.tokens], dtype=np.int64)
