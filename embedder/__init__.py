"""Embedding models: dense encoders with attention controls, lexical (sparse) analysis, and attribution.

Importing this package loads no model library: torch is imported only by `embedder.loading` and the modules it imports.
"""
