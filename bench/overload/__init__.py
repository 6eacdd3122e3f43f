"""Measure a server under more load than it can serve: `python -m bench.overload [--json]`."""
