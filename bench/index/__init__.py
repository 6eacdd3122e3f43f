"""Measure search among very many passages: `python -m bench.index [--json] [--quick]`.

Compares the dense leg with graph indexes (bench.index.dense) and the sparse leg with bm25s (bench.index.sparse).
"""
