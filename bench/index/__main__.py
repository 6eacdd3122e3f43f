"""Both legs in one run."""

from __future__ import annotations

import argparse
import json

from bench.index import dense, sparse


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.index", description="Searching among very many passages.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--quick", action="store_true", help="20,000 vectors and passages")
    arguments = parser.parse_args()
    sizes = [20_000] if arguments.quick else None
    report = {"dense": dense.run(sizes or dense.SIZES), "sparse": sparse.measure(sizes or sparse.PASSAGES)}
    if arguments.json:
        print(json.dumps(report, indent=2))
    else:
        dense.show(report["dense"])
        sparse.show(report["sparse"])


if __name__ == "__main__":
    main()
