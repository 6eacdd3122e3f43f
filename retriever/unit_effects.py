"""Attributes a hit's score to the parts of its passage, by suppressing each part (AtMan) or by integrated gradients.

With AtMan (embedder.explaining), the part's tokens are suppressed in the attention of every layer and in the pool, so
that information that other tokens took from the part is lost as well. Leave-one-out in the pool, which needs no forward
pass, does not capture that. In BM25 the part's products are reduced by the same factor; a learned sparse model reads
the suppressed text itself. Integrated gradients apply to the dense leg; a sparse leg's effect is then leave-one-out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from core.errors import InvalidQuery
from core.prompts import Prompt, TextControl, TextItem
from core.protocols import Encoder, GradientEncoder
from core.reasons import LegEffect, UnitEffect
from core.records import Float64Array, Representation
from embedder.attribution import sums
from embedder.explaining.request import ExplanationRequest, Granularity
from embedder.explaining.units import SpanUnit, prompt_units
from retriever.effects import LegWords, part_effects
from retriever.learned import LearnedTerms
from retriever.legs import Leg, SparseTerms
from retriever.unit_request import UnitMethod, UnitRequest
from retriever.words import PassageWords, tokens_of, words_in


def unit_effects(
    request: UnitRequest,
    passage: PassageWords,
    encoder: Encoder,
    vector: Float64Array | None,
    sparse: Mapping[Leg, SparseTerms],
    legs: Mapping[Leg, LegWords],
    slopes: Mapping[Leg, float],
) -> tuple[UnitEffect, ...]:
    """The parts of title and passage, in text order. `vector`: (dimension,) of the query, of unit length.

    Raises InvalidQuery if the model does not support the method, InvalidInput if there are too many parts,
    InvalidControl if the model does not accept controls.
    """
    spans = _spans(request.granularity, passage, encoder)
    suppressed = [
        Prompt.of(passage.text, (*passage.controls, _suppressing(start, end, request))) for start, end in spans
    ]
    effects: dict[Leg, Float64Array] = {}
    for leg in slopes:
        terms = sparse.get(leg)
        if leg is Leg.DENSE and vector is not None:
            effects[leg] = (
                _suppression(encoder, vector, passage, suppressed)
                if request.method is UnitMethod.ATMAN
                else _gradients(encoder, vector, passage, spans)
            )
        elif isinstance(terms, LearnedTerms) and request.method is UnitMethod.ATMAN:
            effects[leg] = _learned_suppression(terms, passage, suppressed)
        elif leg in legs:
            lost = 1 - request.control_factor if request.method is UnitMethod.ATMAN else 1.0
            effects[leg] = lost * np.array([legs[leg].effects[words_in(passage, *span)].sum() for span in spans])
    told = {leg: [LegEffect(share=None, effect=effect) for effect in found.tolist()] for leg, found in effects.items()}
    return part_effects(passage, spans, told, slopes)


def _spans(granularity: Granularity | None, passage: PassageWords, encoder: Encoder) -> list[tuple[int, int]]:
    """The spans of the parts in the embedded text; the title and the passage's text are divided separately."""
    pieces = [(0, passage.text[: passage.offset]), (passage.offset, passage.text[passage.offset :])]
    pieces = [(start, text) for start, text in pieces if text.strip()]
    items = tuple(TextItem(text=text) for _, text in pieces)
    asked = ExplanationRequest(prompt=Prompt(items=items), target=passage.text, granularity=granularity)
    _, units = prompt_units(asked, encoder.token_spans)
    return [(pieces[u.item][0] + u.start, pieces[u.item][0] + u.end) for u in units if isinstance(u, SpanUnit)]


def _suppressing(start: int, end: int, request: UnitRequest) -> TextControl:
    return TextControl(start=start, length=end - start, factor=request.control_factor)


def _suppression(
    encoder: Encoder, vector: Float64Array, passage: PassageWords, suppressed: Sequence[Prompt]
) -> Float64Array:
    """(parts,) how far the cosine falls when each part is suppressed."""
    found = encoder.encode([passage.prompt, *suppressed], Representation.DOCUMENT).vectors
    cosines = found.astype(np.float64) @ vector
    return np.asarray(cosines[0] - cosines[1:])


def _learned_suppression(terms: LearnedTerms, passage: PassageWords, suppressed: Sequence[Prompt]) -> Float64Array:
    """(parts,) how far the dot product falls when each part is suppressed."""
    prompts = [passage.prompt, *suppressed]
    found = terms.encoder.encode_sparse(prompts, Representation.DOCUMENT).vectors
    weights = dict(zip(terms.vector.ids.tolist(), terms.factors.tolist(), strict=True))
    dots = np.array(
        [
            sum(weights.get(id_, 0.0) * weight for id_, weight in zip(v.ids.tolist(), v.weights.tolist(), strict=True))
            for v in found
        ]
    )
    return np.asarray(dots[0] - dots[1:])


def _gradients(
    encoder: Encoder, vector: Float64Array, passage: PassageWords, spans: Sequence[tuple[int, int]]
) -> Float64Array:
    """(parts,) the sum of the contributions of each part's tokens to the cosine."""
    if not isinstance(encoder, GradientEncoder):
        raise InvalidQuery(
            f"method: the model {encoder.name} has no gradients; choose atman, or leave-one-out", param="method"
        )
    if passage.controls:
        raise InvalidQuery(
            "method: a passage has controls of its document's, which integrated gradients do not follow; choose atman, "
            "or leave-one-out",
            param="method",
        )
    found = encoder.integrated_gradients(Prompt.of(passage.text), Representation.DOCUMENT, vector)
    members = tokens_of(np.array(spans, dtype=np.int64).reshape(-1, 2), found)
    return sums(found.values[:, None], members)[:, 0]
