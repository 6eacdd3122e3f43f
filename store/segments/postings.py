"""The inverted index of a segment: postings sorted by term, in four arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.records import Float32Array, Float64Array, Int32Array, Int64Array


@dataclass(frozen=True, kw_only=True, slots=True)
class Postings:
    """Term terms[i] has the value values[s] in the row rows[s], for s from offsets[i] to offsets[i + 1].

    A value is the term's frequency in the row, or its learned weight; above 0.
    """

    terms: Int32Array  # (terms,) ids, ascending
    offsets: Int64Array  # (terms + 1,)
    rows: Int32Array  # (postings,) ascending within a term
    values: Float32Array  # (postings,)
    lengths: Float64Array  # (rows,) sum of the row's values: for frequencies, its number of terms

    @classmethod
    def build(cls, terms: Int32Array, rows: Int32Array, values: Float32Array, *, row_count: int) -> Postings:
        """Build from triples (term, row, value), one per posting, ascending by row."""
        order = np.argsort(terms, kind="stable")
        ordered = terms[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))  # where a term begins; ids are not negative
        return cls(
            terms=ordered[starts],
            offsets=np.append(starts, len(ordered)).astype(np.int64),
            rows=rows[order],
            values=values[order],
            lengths=np.bincount(rows, weights=values, minlength=row_count).astype(np.float64),
        )

    def span(self, term: int) -> slice:
        """The range of the postings of `term`; empty for a term that does not occur."""
        begins, ends = self.spans(np.array([term], dtype=np.int32))
        return slice(int(begins[0]), int(ends[0]))

    def spans(self, terms: Int32Array) -> tuple[Int64Array, Int64Array]:
        """(n,) begins and (n,) ends of the postings of each of `terms`; equal for a term that does not occur."""
        if not len(self.terms):
            nowhere = np.zeros(len(terms), dtype=np.int64)
            return nowhere, nowhere
        places = self.terms.searchsorted(terms)  # both int32: otherwise numpy would convert all of the terms
        places[places == len(self.terms)] = 0
        begins = self.offsets[places]
        return begins, np.where(self.terms[places] == terms, self.offsets[places + 1], begins)
