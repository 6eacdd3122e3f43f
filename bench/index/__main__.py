"""Run the benchmarks of both legs."""

from __future__ import annotations

import argparse

from bench.command import Report, add_json, tell
from bench.index import dense, sparse


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.index", description="Searching among very many passages.")
    add_json(parser)
    parser.add_argument("--quick", action="store_true", help="20,000 vectors and passages")
    arguments = parser.parse_args()
    sizes = [20_000] if arguments.quick else None
    found = {"dense": dense.run(sizes or dense.SIZES), "sparse": sparse.measure(sizes or sparse.PASSAGES)}
    tell(
        {**found, "wrong": [line for one in found.values() for line in one.pop("wrong")]},
        as_json=arguments.json,
        show=_show,
    )


def _show(report: Report) -> None:
    dense.show(report["dense"])
    sparse.show(report["sparse"])


if __name__ == "__main__":
    main()
