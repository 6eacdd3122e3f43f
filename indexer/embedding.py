"""Embed the passages of drafts. A document that makes the encoder fail is reported; the others are still embedded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np

from core.errors import Abandoned, InvalidControl, InvalidInput, ModelError, RemoteError, SalienceError
from core.prompts import Prompt
from core.protocols import Encoder, Priority, Progress, SparseEncoder
from core.records import Embeddings, Representation, SparseEmbeddings
from embedder.combined import encode_together
from indexer.drafting import Drafted
from indexer.records import RecordError
from store.batch import Draft, Embedding

# What a model, or the library that runs it, may raise for a particular text; any other exception ends the run.
_ENCODER_FAILURES = (SalienceError, ValueError, RuntimeError, IndexError, OverflowError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedders:
    """The models that embed passages."""

    encoder: Encoder
    sparse: SparseEncoder | None  # None: the collection has no learned weights


@dataclass(kw_only=True, slots=True)
class Embedded:
    """The result of embedding a batch."""

    embeddings: dict[bytes, Embedding] = field(default_factory=dict)  # by passage hash
    tokens: int = 0  # read by the model
    truncated: list[str] = field(default_factory=list)  # ids of documents that were too long for the model
    failed: list[RecordError] = field(default_factory=list)


def embed(
    drafts: Sequence[Drafted],
    missing: AbstractSet[bytes],
    terms: Mapping[bytes, Mapping[str, float]],
    embedders: Embedders,
    *,
    on_progress: Callable[[int, int], None],
    priority: Priority = Priority.BULK,
) -> Embedded:
    """Embed the passages whose hash is in `missing`, each text once, with the document representation.

    `terms` are the passages' BM25 term frequencies, by passage hash. `on_progress(passages, tokens)` gets the totals so
    far. The tokens are updated only after each call of the encoder; after a call that failed, the passages count again
    from their value before that call.

    Raises RemoteError where a remote model fails for a reason other than a text: it is down, refuses every request, or
    is a different model than expected. Raises Abandoned when the work is given up.
    """
    result = Embedded()
    _embed(drafts, missing, terms, embedders, on_progress, priority, result)
    return result


def _embed(
    drafts: Sequence[Drafted],
    missing: AbstractSet[bytes],
    terms: Mapping[bytes, Mapping[str, float]],
    embedders: Embedders,
    on_progress: Callable[[int, int], None],
    priority: Priority,
    result: Embedded,
) -> None:
    """Embed into `result`. If the encoder fails, drop the document it names, and retry the others half by half."""
    owners: dict[bytes, Draft] = {}
    prompts: dict[bytes, Prompt] = {}
    for drafted in drafts:
        for sha, prompt in drafted.prompts.items():
            if sha in missing and sha not in result.embeddings:
                owners[sha] = drafted.draft
                prompts[sha] = prompt
    if not prompts:
        return
    done = len(result.embeddings)

    def progress(count: int) -> None:
        nonlocal done
        done += count
        on_progress(done, result.tokens)

    try:
        made, learned = _encode(embedders, list(prompts.values()), priority, progress)
    except _ENCODER_FAILURES as error:
        if isinstance(error, Abandoned) or (isinstance(error, RemoteError) and error.index is None):
            raise
        named = list(prompts)[error.index] if isinstance(error, InvalidInput) and error.index is not None else None
        kind = InvalidControl if isinstance(error, InvalidControl) else ModelError  # whose fault it is
        others = []
        for drafted in drafts:
            if len(drafts) == 1 or named in drafted.prompts:
                reason = f"the model cannot embed it: {error}"
                result.failed.append(RecordError(code=kind.code, reason=reason, id=drafted.draft.document.id))
            else:
                others.append(drafted)
        middle = len(others) // 2
        for half in (others[:middle], others[middle:]):
            _embed(half, missing, terms, embedders, on_progress, priority, result)
        return
    for row, sha in enumerate(prompts):
        result.embeddings[sha] = Embedding(
            vector=made.vectors[row],
            terms=terms.get(sha, {}),
            learned=None if learned is None else learned.vectors[row],
        )
        cut = made.truncated[row] or (learned is not None and learned.truncated[row])
        if cut and owners[sha].document.id not in result.truncated[-1:]:
            result.truncated.append(owners[sha].document.id)
    result.tokens += int(made.token_counts.sum())
    on_progress(len(result.embeddings), result.tokens)


def _encode(
    embedders: Embedders, prompts: Sequence[Prompt], priority: Priority, progress: Progress
) -> tuple[Embeddings, SparseEmbeddings | None]:
    """Dense and, if there is a sparse model, learned sparse embeddings of the prompts.

    Raises ModelError for values that are not finite, and whatever the encoders raise.
    """
    as_documents, learned = Representation.DOCUMENT, None
    if embedders.sparse is None:
        made = embedders.encoder.encode(prompts, as_documents, priority=priority, progress=progress)
    else:
        made, learned = encode_together(
            embedders.encoder, embedders.sparse, prompts, as_documents, priority=priority, progress=progress
        )
        if not all(np.isfinite(vector.weights).all() for vector in learned.vectors):
            raise ModelError("the sparse model made a weight that is not finite")
    if not np.isfinite(made.vectors).all():
        raise ModelError("the model made a vector with a value that is not finite")
    return made, learned
