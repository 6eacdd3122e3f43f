"""Data types of explanations: score ledgers, effects of words, contrasts, and query changes that a user can apply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.prompts import TextControl


class Explanation(NamedTuple):  # one for every word of every hit; a dataclass takes three times as long to create
    """A score as a tree: if there are details, `value` is the sum of their values."""

    value: float
    kind: str  # stable name: score, leg, cosine, term, word, context, rerank, constant, residual, difference
    description: str
    details: tuple[Explanation, ...] = ()


class LegEffect(NamedTuple):
    """What a part of a passage adds to one leg, in the leg's units: cosine, BM25, dot product of learned weights."""

    share: float | None  # its part of the raw score; None if the method gives effects only
    effect: float  # signed: how far the raw score falls without it


class WordEffect(NamedTuple):
    """A word of a passage (or of its title) and its contribution to the hit's score."""

    text: str
    start: int  # span in the passage's text, or in the title
    end: int
    in_title: bool
    share: float  # its part of the score; the shares of all words, the context and the constants sum to the score
    effect: float  # signed: how far the score falls without the word (dense: in the pool; sparse: its terms' products)
    legs: Mapping[str, LegEffect]  # share and effect by leg


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitEffect:
    """A sentence or other part of a passage (or of its title) and its contribution to the hit's score."""

    text: str
    start: int  # span in the passage's text, or in the title
    end: int
    in_title: bool
    share: float | None  # the sum of its words' shares; None if the method gives effects only
    effect: float  # signed: how far the score falls without it
    legs: Mapping[str, LegEffect]


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryWordShare:
    """A word of the query and its part of the score, by leg."""

    text: str
    start: int  # span in the query's text
    end: int
    factor: float  # its control factor; 1 if it is not steered
    dense: float
    sparse: float
    learned: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Steering:
    """A change of a query's emphasis that was tried by searching with it, and its effect on a hit's rank."""

    words: tuple[str, ...]  # the words of the query that it steers
    factors: tuple[float, ...]  # (words,) new factors, multiplied with those that the query has
    query: str | None  # the changed query with boosts, ready to search with; None if it cannot be written with boosts
    controls: tuple[TextControl, ...]  # the same change as spans of the query's text
    rank_before: int | None  # of the hit's document, from 1; None: below the last rank that was examined
    rank_after: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Swap(Steering):
    """A change that puts the lower hit of a contrast above the upper one; the inherited ranks are the lower hit's.

    Both hits may have fallen, the upper one further than the lower one.
    """

    upper_rank_before: int | None  # of the upper hit's document, counted like the other ranks
    upper_rank_after: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """Why one hit is above another."""

    other: int  # id of the hit that it is compared with
    ledger: Explanation  # this hit's score minus the other's, as a tree that adds up
    swap: Swap | None  # the smallest change found, preferably one that does not lower the other hit; None: none found
    tried: int  # number of searches made to find it


@dataclass(frozen=True, kw_only=True, slots=True)
class HitExplanation:
    """Why a hit has its score."""

    ledger: Explanation  # sums to the score
    words: tuple[WordEffect, ...]  # of title and passage, in text order
    query_words: tuple[QueryWordShare, ...]  # in text order
    query_rest: float  # special tokens, prefix and constants; together with the query's words it sums to the score
    significant: bool  # whether the effect of any word reaches 2 % of the score
    provenance: Mapping[str, Any]  # method, objective, fingerprints, generation, seq, document, query: to replay it
    sentences: tuple[UnitEffect, ...] = ()  # of title and passage, in text order
    units: tuple[UnitEffect, ...] = ()  # computed by the requested method instead of leave-one-out
    contrast: Contrast | None = None
    advice: tuple[Steering, ...] = ()  # changes that would raise the hit, the most effective first
