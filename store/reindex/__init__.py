"""Reindexing: a new generation of a collection is built while the old one is searched and written to.

The new generation is a collection row of its own, with documents, passages and terms, under a hidden name, so that the
code which reads and writes collections works on it unchanged. Reindexing adds three things: every commit records which
documents it touched (`dualwrites`), the process that fills the hidden generation strikes these out in the transaction
that copies them (`pending`), and one transaction swaps the names (`switching`).
"""
