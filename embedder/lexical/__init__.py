"""Lexical analysis: splits documents and queries into the terms of BM25 search, by the same rules for both."""

from embedder.lexical.analyzer import Analyzer, QueryWord, Term
from embedder.lexical.languages import check_language

__all__ = ["Analyzer", "QueryWord", "Term", "check_language"]
