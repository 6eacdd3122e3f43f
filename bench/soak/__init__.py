"""Whether a server that works for long stays as it is: `python -m bench.soak [--json]`."""
