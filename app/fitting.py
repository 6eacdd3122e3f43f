"""Fits a projection of a model's vectors to fewer dimensions, on the user's own texts: `salience models fit`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from core.errors import InvalidDocument, InvalidInput
from core.prompts import Prompt
from core.protocols import Encoder, Priority
from core.records import CollectionSettings, Document, Representation
from embedder.lexical import Analyzer
from embedder.projection import space
from embedder.projectionfile import Projection, SecondMoment, write_projection
from indexer.drafting import Drafter, refusal
from indexer.records import RecordError, Skipped

_BATCH = 64  # passages


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """A fitted projection and the file that holds it."""

    projection: Projection
    file: Path
    failed: Sequence[RecordError]  # records that could not be used


def fit(
    encoder: Encoder,
    analyzer: Analyzer,
    items: Iterable[Document | RecordError | Skipped],
    size: int,
    folder: Path,
    *,
    on_passages: Callable[[int], None] | None = None,
) -> Fitted:
    """Embed the distinct passages of the documents, fit a projection to `size` dimensions and write it into `folder`.

    `size`: from 1 to one less than the encoder's dimension. `on_passages` is called with the number of passages
    embedded so far. Raises InvalidInput for a size out of range and for too few passages; nothing is written then.
    """
    if not 1 <= size < encoder.dimension:
        raise InvalidInput(
            f"size {size}: must be from 1 to {encoder.dimension - 1}, below the {encoder.dimension} dimensions of "
            f"model {encoder.name}",
            param="size",
        )
    failed: list[RecordError] = []
    moment = SecondMoment(encoder.dimension)
    passages = _passages(encoder, analyzer, items, failed)
    while prompts := list(islice(passages, _BATCH)):
        moment.add(encoder.encode(prompts, Representation.DOCUMENT, priority=Priority.BULK).vectors)
        if on_passages is not None:
            on_passages(moment.texts)
    projection = moment.fit(size, space=space(encoder), model=encoder.name)
    return Fitted(projection=projection, file=write_projection(folder, projection), failed=failed)


def _passages(
    encoder: Encoder,
    analyzer: Analyzer,
    items: Iterable[Document | RecordError | Skipped],
    failed: list[RecordError],
) -> Iterator[Prompt]:
    """Yield each distinct passage that would be embedded if the documents were added to a collection.

    Records that cannot be used are appended to `failed`.
    """
    drafter = Drafter(CollectionSettings(), encoder, analyzer)
    seen: set[bytes] = set()
    for item in items:
        if isinstance(item, Skipped):
            continue
        if isinstance(item, RecordError):
            failed.append(item)
            continue
        try:
            outline = drafter.outline(replace(item, controls=()))  # not every model takes controls
        except InvalidDocument as error:
            failed.append(refusal(item, error))
            continue
        for sha, prompt in drafter.complete(outline).prompts.items():
            if sha not in seen:
                seen.add(sha)
                yield prompt
