"""Find the documents that contain given terms, whatever their scores: for required and excluded words, exact counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import sqlalchemy as sa

from core.passages import kept_text
from core.records import Int64Array
from store import schema
from store.controls import unpack_controls
from store.filters.sql import Documents
from store.ids import belong, distinct
from store.passageindex.protocol import Weights
from store.terms import term_ids
from store.view import View


class DocumentText(NamedTuple):
    number: int  # document.id
    language: str
    title: str
    parts: list[str]  # of the text, without what the document's controls leave out


def documents_with_terms(view: View, terms: Iterable[str]) -> Documents:
    """The documents with a passage that contains any of the terms."""
    known = term_ids(view.session, view.collection.id, list(terms))
    return view.documents_holding(Weights.BM25, list(known.values()))


def documents_with_tokens(view: View, tokens: Iterable[int]) -> Documents:
    """The documents with a passage in which any of the vocabulary tokens has a learned weight."""
    return view.documents_holding(Weights.LEARNED, list(tokens))


def document_texts(view: View, documents: Int64Array) -> Iterator[DocumentText]:
    """The texts of the documents with these `document.id`, read lazily."""
    document = schema.document.c
    columns = sa.select(document.id, document.language, document.title, document.text, document.controls)
    for row in view.session.rows_where_in(columns, document.id, documents.tolist()):
        yield DocumentText(row.id, row.language, row.title, kept_text(row.text, unpack_controls(row.controls)).parts)


def documents_of_passages(view: View, passages: Int64Array | None, excluded: Int64Array | None = None) -> Int64Array:
    """The sorted `document.id` of documents that have one of the passages (None: any), and none of the `excluded`."""
    documents = view.every_document() if passages is None else distinct(view.documents_of(passages))
    if excluded is None:
        return documents
    return documents[~belong(documents, distinct(view.documents_of(excluded)))]
