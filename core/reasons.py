"""The nouns of explanations: ledgers, parts of a passage, contrasts, and changes that a user can apply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.prompts import TextControl


class Explanation(NamedTuple):  # a line for every word of every hit: a dataclass takes three times as long to make
    """A score as a tree: `value` is the sum of the details' values wherever there are details."""

    value: float
    kind: str  # stable name: score, leg, cosine, term, word, context, rerank, constant, residual, difference
    description: str
    details: tuple[Explanation, ...] = ()


class LegEffect(NamedTuple):
    """What a part of a passage did to one leg, in the leg's own units: cosine, BM25, dot product of learned weights."""

    share: float | None  # its part of the raw score; None where the method tells effects alone
    effect: float  # signed: how far the raw score falls without it


class WordEffect(NamedTuple):
    """A word of a passage (or of its title) and what it did to the hit's score."""

    text: str
    start: int  # span in the passage's text, or in the title
    end: int
    in_title: bool
    share: float  # its part of the score: with the other words', the context's and the constants it sums to the score
    effect: float  # signed: how far the score falls when the word leaves (dense: the pool; sparse: its terms' products)
    legs: Mapping[str, LegEffect]  # by leg, what share and effect are made of


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitEffect:
    """A sentence of a passage (or of its title), or another part of it, and what it did to the hit's score."""

    text: str
    start: int  # span in the passage's text, or in the title
    end: int
    in_title: bool
    share: float | None  # the sum of its words' shares; None where the method tells effects alone
    effect: float  # signed: how far the score falls without it
    legs: Mapping[str, LegEffect]


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryWordShare:
    """A word of the query and its part of the score, by leg."""

    text: str
    start: int  # span in the query's text
    end: int
    factor: float  # its control factor, 1 where it is not steered
    dense: float
    sparse: float
    learned: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Steering:
    """A change of a query that was tried by searching with it, and what it did to a hit."""

    words: tuple[str, ...]  # of the query, that are steered by it
    factors: tuple[float, ...]  # (words,) new ones, multiplied with those that the query has
    query: str | None  # the query with boosts, to search with as it is; None where they cannot be written as such
    controls: tuple[TextControl, ...]  # the same as spans of the query's text
    rank_before: int | None  # of the hit's document, from 1; None: behind the last one that was looked at
    rank_after: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Swap(Steering):
    """A change that puts the other hit of a contrast above; the ranks of a Steering are those of the other hit.

    Both may have fallen: the other one then less than the hit that stood above it.
    """

    upper_rank_before: int | None  # of the document of the hit that stood above, as its other ranks are
    upper_rank_after: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """Why one hit is above another."""

    other: int  # id of the hit that it is held against
    ledger: Explanation  # this hit's score less the other's, as a tree that adds up
    swap: Swap | None  # the smallest change that was found, one by which the other does not fall first; None: none was
    tried: int  # searches that were made to find it


@dataclass(frozen=True, kw_only=True, slots=True)
class HitExplanation:
    """Why a hit has its score."""

    ledger: Explanation  # sums to the score
    words: tuple[WordEffect, ...]  # of title and passage, in text order
    query_words: tuple[QueryWordShare, ...]  # in text order
    query_rest: float  # special tokens, prefix and constants: with the query's words it sums to the score
    significant: bool  # whether any word has an effect that reaches 2 % of the score
    provenance: Mapping[str, Any]  # method, objective, fingerprints, generation, seq, document, query: to replay it
    sentences: tuple[UnitEffect, ...] = ()  # of title and passage, in text order
    units: tuple[UnitEffect, ...] = ()  # by the method that was asked for in place of leave-one-out
    contrast: Contrast | None = None
    advice: tuple[Steering, ...] = ()  # what would raise the hit, the most effective first
