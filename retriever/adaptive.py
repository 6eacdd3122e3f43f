"""Adaptive fusion: chooses the weight of each leg for a single query, without relevance judgements.

The choice is based on four observations:

- Decisiveness: how far a leg's best document stands above the next few, as a fraction of the leg's score range. A leg
  that does not understand a query also ranks something first, but nothing stands out.
- Known words, for legs that match words: how many of the query's words occur in the documents at all. If few do, as
  with a question in another language, a document that has them stands out by accident. If all do and no document
  stands out, then many documents contain them, which is no sign that the leg fails.
- Query length: a dense model gets its meaning from words in context. One or two words alone are mostly a name or a
  kind of thing.
- Agreement: how each leg scores the documents that the other legs rank first.

If the legs agree there is little to decide, and the weights stay as configured. The less they agree, the more weight
the decisive leg gets:

    weight of a leg ~ prior * exp(SHARPNESS * (1 - agreement)^2 * decisiveness)

where the prior is the configured weight, adjusted for short queries: see `_of_length`.

All figures are ratios of scores within one leg, so the scale of a leg does not matter. The constants are the same for
every collection, language and model; docs/decisions/0016 says how they were chosen, and how little depends on each.

Sources: that outstanding scores indicate a good ranking: Shtok, Kurland, Carmel, Raiber, Markovits, "Predicting Query
Performance by Query-Drift Estimation", ACM TOIS 30(2), 2012. That dense models fall behind BM25 on queries that are
little more than a name: Sciavolino, Zhong, Lee, Chen, "Simple Entity-Centric Questions Challenge Dense Retrievers",
EMNLP 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.records import Float64Array, Int64Array
from retriever.legs import Leg, Wording

FIELD = 10  # a leg's best document is compared with the one at this distance below it
FIRST = 2  # top documents of a leg whose scores in the other legs measure agreement
SHARPNESS = 15.0  # with no agreement, one leg decisive and the other flat: e^15 to 1, in practice a veto
ENOUGH = 0.6  # fraction of the query's words: a leg that knows fewer of them is less decisive than it looks
LONG = 4  # number of query words from which on the length does not matter
UNHEARD = 0.2  # fraction of the prior weight: a leg that keeps less only adds noise


@dataclass(frozen=True, kw_only=True, slots=True)
class LegEvidence:
    """The observations about a leg, and its resulting weight."""

    prior: float  # 0..1, the starting weight: the configured one, adjusted for short queries
    decisiveness: float  # 0..1, reduced if the leg knows few of the words; if it knows all, at least the other legs'
    confirmation: float  # 0..1: how the other legs score its first documents
    weight: float  # 0..1; the weights of all legs sum to 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The weights for one query, and the observations behind them."""

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
    """Choose the weights of two or more legs.

    `norms`: (candidates,) scores scaled to 0..1, 0 for candidates that a leg did not find; `documents`: (candidates,)
    equal for passages of one document; `prior`: weights to start from, with a sum of 1. A leg that has no prior weight
    or found nothing gets no weight, and does not influence the others. `wordings`: the query's words, for each leg
    that matches words.
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
    """(legs,) weights with a sum of 1. UNHEARD of its prior is subtracted from each, and the result clipped at 0.

    Subtracting from all legs avoids a jump where a leg's weight reaches 0.
    """
    trust = SHARPNESS * (1 - agreement) ** 2 * decisiveness
    weights = prior * np.exp(trust - trust.max())
    weights = np.maximum(weights / weights.sum() - UNHEARD * prior, 0.0)
    return np.asarray(weights / weights.sum())


def _of_length(prior: Float64Array, wordings: Sequence[Wording | None]) -> Float64Array:
    """(legs,) priors adjusted for the query's length, with a sum of 1.

    In a query of n < LONG words, a leg that does not match words gives up 1 - (n + 1) / (LONG + 1) of its prior, times
    the fraction of the words that the legs that match words know. Those legs get it.
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
    """Whether the numbers are strictly ascending: then no document has two passages.

    Passages are mostly in insertion order, so this is common where each document is one passage.
    """
    return bool((documents[1:] > documents[:-1]).all())


def _by_document(norms: list[Float64Array], documents: Int64Array) -> Float64Array:
    """(legs, documents) the norm of each document's best passage, documents in the order of their first passages.

    Among documents with equal scores, the first ones are examined. The order of document numbers is not used, because
    it differs between a document that was replaced and one that was deleted and added again.
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
    """(legs,) the best score minus the one that FIELD documents are above; 0 stands in for a missing document."""
    count = scores.shape[1]
    top = scores.max(axis=1, initial=0.0)
    return np.asarray(
        top - np.partition(scores, count - FIELD - 1, axis=1)[:, count - FIELD - 1] if count > FIELD else top
    )


def _with_known(decisiveness: Float64Array, wordings: Sequence[Wording | None]) -> Float64Array:
    """(legs,) decisiveness of the legs that match words, adjusted for the fraction of words that they know.

    Below ENOUGH it is multiplied by (known / ENOUGH)^2. If all words are known, it is at least that of any other leg;
    in between, at least a share of the highest one, which grows from 0 to 1.
    """
    shares = np.array([np.nan if wording is None else wording.known for wording in wordings])
    by_words = ~np.isnan(shares)
    decisive = np.where(by_words, decisiveness * np.minimum(shares / ENOUGH, 1.0) ** 2, decisiveness)
    sure = np.clip((shares - ENOUGH) / (1 - ENOUGH), 0.0, 1.0)
    return np.where(by_words, np.maximum(decisive, sure * decisive.max()), decisive)


def _confirmation(scores: Float64Array) -> Float64Array:
    """(legs,) mean score of a leg's FIRST documents in the other legs, weighted by their lead over the next one."""
    confirmed = np.ones(len(scores))
    for i, own in enumerate(scores):
        if len(scores) == 1 or not own.any():
            continue  # no other leg to disagree with, or nothing found
        first = _largest(own, FIRST + 1)
        excess = own[first] - own[first[-1]] if len(first) > FIRST else own[first]
        excess = excess if excess.any() else np.ones(len(first))
        others = np.delete(scores, i, axis=0)[:, first]
        confirmed[i] = float((others @ excess / excess.sum()).mean())
    return confirmed


def _largest(scores: Float64Array, count: int) -> Int64Array:
    """Positions of the `count` largest scores, in descending order; ties keep their order."""
    among = np.arange(len(scores))
    if len(scores) > count:
        among = np.flatnonzero(scores >= np.partition(scores, len(scores) - count)[len(scores) - count])
    largest: Int64Array = among[np.argsort(-scores[among], kind="stable")[:count]]
    return largest
