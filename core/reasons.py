"""The nouns of explanations beside the ledger: parts of a passage, contrasts, and changes that a user can apply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from core.prompts import TextControl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.records import BoolArray, Explanation, Float64Array, Int64Array


class LegEffect(NamedTuple):
    """What a part of a passage did to one leg, in the leg's own units: cosine, BM25, dot product of learned weights."""

    share: float | None  # its part of the raw score; None where the method tells effects alone
    effect: float  # signed: how far the raw score falls without it


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
class Steering:
    """A change of a query that was tried by searching with it, and what it did to a hit."""

    words: tuple[str, ...]  # of the query, that are steered by it
    factors: tuple[float, ...]  # (words,) new ones, multiplied with those that the query has
    query: str | None  # the query with boosts, to search with as it is; None where they cannot be written as such
    controls: tuple[TextControl, ...]  # the same as spans of the query's text
    rank_before: int | None  # of the hit's document, from 1; None: behind the last one that was looked at
    rank_after: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """Why one hit is above another."""

    other: int  # id of the hit that it is held against
    ledger: Explanation  # this hit's score less the other's, as a tree that adds up
    swap: Steering | None  # the smallest change that was found to put the other above; None: none was found
    tried: int  # searches that were made to find it


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenAttributions:
    """What each token of a text adds to a cosine."""

    spans: Int64Array  # (tokens, 2) characters of the token's own text item; (0, 0) for all other tokens
    special: BoolArray  # (tokens,)
    values: Float64Array  # (tokens,) signed
    cosine: float
    baseline: float  # the cosine of the text that says nothing
