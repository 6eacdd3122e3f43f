"""How a server bears more than it can serve: `python -m bench.overload [--json]`."""
