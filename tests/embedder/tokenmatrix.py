"""The matrix that embedder.attribution speaks of, written out: the sums of its rows and columns are held against it."""

from core.records import Float64Array, TokenTrace
from embedder.attribution import parts


def token_matrix(query: TokenTrace, passage: TokenTrace) -> Float64Array:
    """(query tokens, passage tokens) M_ij: what each pair adds to the cosine. All entries sum to it.

    Rows summed: what the query's tokens contribute; columns summed: what the passage's do.
    """
    return parts(query) @ parts(passage).T
