"""Text to vectors: models and their attention controls (dense), lexical analysis (sparse), attribution.

Importing this package loads no model library: torch is imported by `embedder.loading` alone and what it imports.
"""
