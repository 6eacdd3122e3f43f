"""Lexical analysis: text to the terms of the sparse leg, the same for documents and queries."""

from embedder.lexical.analyzer import AnalyzedQuery, Analyzer, QueryWord, Term
from embedder.lexical.languages import check_language

__all__ = ["AnalyzedQuery", "Analyzer", "QueryWord", "Term", "check_language"]
