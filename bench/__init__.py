"""Benchmarks: measurements of the product that are too slow, or too much a matter of degree, to be tests.

Each is a command (`python -m bench.NAME`) that prints a table, or with `--json` one JSON object on standard output.

Failures (a wrong answer, a lost write, a request that failed without a reason, a broken promise of quality) are listed
in the report's `wrong`, or end the run with an error: either way the exit code is 1. A missed goal of speed or size is
reported with exit code 0, since it depends on the machine as well.
"""
