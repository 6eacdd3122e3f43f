"""Adaptive fusion: how much each leg has to say about one query, from what can be seen of it without judgements.

Four things are seen. How *decisive* a leg is: how far its best document stands above the next few, of its whole
range. A leg that does not understand a query ranks something first, too, but nothing stands out. How much of the query
a leg that goes by words *knows*: where the documents have few of them, as with a question in another language, the one
that has them stands out by accident; where they have all, and none stands out, that is because many have them, and no
sign that the leg is at a loss. How *long* the query is: a model finds a meaning where words stand together, and one or
two by themselves are mostly a name or a kind of thing that is looked for. And how far the legs *agree*: what each says
of the documents that the others put first.
Where they agree there is little to decide, and the weights stay where they were set; the less they agree, the more the
decisive leg gets:

    weight of a leg ~ prior * exp(SHARPNESS * (1 - agreement)^2 * decisiveness)

where the prior is what was set, but for short queries: see `_of_length`.

All figures are ratios of scores of one leg: no leg's scale matters. The constants are the same for every collection,
language and model; docs/decisions/0016 says how they were chosen, and how little hangs on each.

That scores which stand out tell of a good ranking: Shtok, Kurland, Carmel, Raiber, Markovits, "Predicting Query
Performance by Query-Drift Estimation", ACM TOIS 30(2), 2012. That models of meaning fall behind BM25 where a query is
little more than a name: Sciavolino, Zhong, Lee, Chen, "Simple Entity-Centric Questions Challenge Dense Retrievers",
EMNLP 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.records import Float64Array, Int64Array
from retriever.legs import Leg, Wording

FIELD = 10  # documents that a leg's best one is held against
FIRST = 2  # documents of a leg that the other legs are asked about
SHARPNESS = 15.0  # with no agreement, one leg decisive and the other flat: e^15 to 1, in practice a veto
ENOUGH = 0.6  # of the query's words: a leg that knows less of them is less decisive than it looks
LONG = 4  # words of a query from which on its length does not count
UNHEARD = 0.2  # of its prior weight: a leg that keeps less only adds noise


@dataclass(frozen=True, kw_only=True, slots=True)
class LegEvidence:
    """What was seen of a leg, and the weight that it got for it."""

    prior: float  # 0..1, what it started from: the weight that was set, or another where the query is short
    decisiveness: float  # 0..1, less where the leg knows few of the words; where it knows all, at least the others'
    confirmation: float  # 0..1: what the other legs say of its first documents
    weight: float  # 0..1; those of all legs sum to 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The weights of one query, and why."""

    agreement: float  # 0..1: the legs' mean confirmation
    legs: Mapping[Leg, LegEvidence]

    @property
    def weights(self) -> dict[Leg, float]:
        return {leg: seen.weight for leg, seen in self.legs.items()}


def choose(
    norms: Mapping[Leg, Float64Array],
    documents: Int64Array,
    prior: Mapping[Leg, float],
    wordings: Mapping[Leg, Wording | None] | None = None,
) -> Choice:
    """The weights of two legs or more.

    `norms`: (candidates,) scores brought to 0..1, 0 for what a leg did not find; `documents`: (candidates,) equal for
    passages of one document; `prior`: weights to start from, with a sum of 1. A leg that has no prior weight, or found
    nothing, has none in the end, and no part in what the others get. `wordings`: the query's words, for each leg that
    goes by such.
    """
    asked = [leg for leg in norms if prior[leg] > 0 and norms[leg].any()] or [leg for leg in norms if prior[leg] > 0]
    scores = _by_document([norms[leg] for leg in asked], documents)  # (legs, documents)
    words = [(wordings or {}).get(leg) for leg in asked]
    begun = _of_length(np.array([prior[leg] for leg in asked]), words)
    decisive = _with_known(_decisiveness(scores), words)
    confirmed = _confirmation(scores)
    agreement = float(confirmed.mean())
    weights = _weights(begun, decisive, agreement)
    nothing = LegEvidence(prior=0.0, decisiveness=0.0, confirmation=0.0, weight=0.0)
    found = {
        leg: LegEvidence(prior=float(p), decisiveness=float(d), confirmation=float(c), weight=float(w))
        for leg, p, d, c, w in zip(asked, begun, decisive, confirmed, weights, strict=True)
    }
    return Choice(agreement=agreement, legs={leg: found.get(leg, nothing) for leg in norms})


def _weights(prior: Float64Array, decisiveness: Float64Array, agreement: float) -> Float64Array:
    """(legs,) with a sum of 1. What falls below UNHEARD of its prior is 0; all lose that much, so nothing jumps."""
    trust = SHARPNESS * (1 - agreement) ** 2 * decisiveness
    weights = prior * np.exp(trust - trust.max())
    weights = np.maximum(weights / weights.sum() - UNHEARD * prior, 0.0)
    return np.asarray(weights / weights.sum())


def _of_length(prior: Float64Array, wordings: Sequence[Wording | None]) -> Float64Array:
    """(legs,) with a sum of 1. In a query of n < LONG words a leg that does not go by words has (n + 1) / (LONG + 1) of
    its prior, and those that do have the rest; in proportion less of that where they know not all of the words.
    """
    prior = prior / prior.sum()
    by_words = np.array([wording is not None for wording in wordings])
    present = next((wording for wording in wordings if wording is not None), None)
    if present is None or present.words is None or by_words.all():
        return np.asarray(prior)
    missing = max(0.0, 1 - (present.words + 1) / (LONG + 1)) * present.known
    moved = np.where(by_words, 0.0, prior * missing)
    shares = np.where(by_words, prior, 0.0)
    return np.asarray(prior - moved + moved.sum() * shares / shares.sum())


def one_passage_each(documents: Int64Array) -> bool:
    """Whether they rise, as those of passages in the order in which they came mostly do where each is a document."""
    return bool((documents[1:] > documents[:-1]).all())


def _by_document(norms: list[Float64Array], documents: Int64Array) -> Float64Array:
    """(legs, documents) the norm of each document's best passage, in the order of their first passages.

    Not in that of their numbers, which tell what was replaced and what deleted and added again: of equal documents, the
    first ones are looked at.
    """
    if not len(documents):
        return np.zeros((len(norms), 0))
    if one_passage_each(documents):
        return np.array(norms)
    order = np.argsort(documents, kind="stable")
    begins = np.flatnonzero(np.diff(documents[order], prepend=documents[order[0]] - 1))
    best = np.array([np.maximum.reduceat(norm[order], begins) for norm in norms])
    return np.asarray(best[:, np.argsort(order[begins])])


def _decisiveness(scores: Float64Array) -> Float64Array:
    """(legs,) the best score less the one that FIELD documents are above; what is not there scores 0."""
    count = scores.shape[1]
    top = scores.max(axis=1, initial=0.0)
    return np.asarray(
        top - np.partition(scores, count - FIELD - 1, axis=1)[:, count - FIELD - 1] if count > FIELD else top
    )


def _with_known(decisiveness: Float64Array, wordings: Sequence[Wording | None]) -> Float64Array:
    """(legs,) as they are to be taken: of a leg that knows less than ENOUGH of the words times (known / ENOUGH)^2; of
    one that knows all of them no less than of any other leg, and between the two that share of the other's.
    """
    shares = np.array([np.nan if wording is None else wording.known for wording in wordings])
    by_words = ~np.isnan(shares)
    decisive = np.where(by_words, decisiveness * np.minimum(shares / ENOUGH, 1.0) ** 2, decisiveness)
    sure = np.clip((shares - ENOUGH) / (1 - ENOUGH), 0.0, 1.0)
    return np.where(by_words, np.maximum(decisive, sure * decisive.max()), decisive)


def _confirmation(scores: Float64Array) -> Float64Array:
    """(legs,) mean of what each other leg gives to a leg's FIRST documents, by how far these stand above the next."""
    confirmed = np.ones(len(scores))
    for i, own in enumerate(scores):
        if len(scores) == 1 or not own.any():
            continue  # nobody to disagree with
        first = _largest(own, FIRST + 1)
        excess = own[first] - own[first[-1]] if len(first) > FIRST else own[first]
        excess = excess if excess.any() else np.ones(len(first))
        others = np.delete(scores, i, axis=0)[:, first]
        confirmed[i] = float((others @ excess / excess.sum()).mean())
    return confirmed


def _largest(scores: Float64Array, count: int) -> Int64Array:
    """Positions of the `count` largest, the largest first; equals as they stand."""
    among = np.arange(len(scores))
    if len(scores) > count:
        among = np.flatnonzero(scores >= np.partition(scores, len(scores) - count)[len(scores) - count])
    largest: Int64Array = among[np.argsort(-scores[among], kind="stable")[:count]]
    return largest
