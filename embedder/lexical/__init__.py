"""Lexical analysis: text to the terms of the sparse leg, the same for documents and queries."""

from embedder.lexical.analyzer import Analyzer, QueryWord, Term
from embedder.lexical.languages import check_language

__all__ = ["Analyzer", "QueryWord", "Term", "check_language"]
