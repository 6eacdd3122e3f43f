"""Measurements of the product that are too slow, or too much a matter of degree, to be tests.

Each is a command (`python -m bench.NAME`) that prints a table, or with `--json` one JSON object on standard output.

What must not be (a wrong answer, a lost write, a request that failed without a reason, a promise of quality that is not
kept) stands in the report's `wrong`, or ends the run with an error: either way the exit code is 1. A goal of speed or
size that is missed is reported, and the exit code is 0: it is as much a matter of the machine.
"""
