"""Searching among very many passages: `python -m bench.index [--json] [--quick]`.

The dense leg against graphs (bench.index.dense) and the sparse leg against bm25s (bench.index.sparse).
"""
