"""Check that a server's resource use does not grow over time: `python -m bench.soak [--json]`."""
