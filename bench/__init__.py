"""Measurements of the product that are too slow, or too much a matter of degree, to be tests.

Each is a command (`python -m bench.NAME`) that prints a table, or with `--json` one JSON object on standard output.
"""
