"""Run all parts of the ingestion benchmark, or some."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.command import Report, add_json, tell
from bench.ingest import restart, searching, throughput
from bench.ingest.texts import documents
from bench.processes import end_when_told

PARTS = ("throughput", "searching", "restart")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ingest", description="How fast documents come in.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: all")
    add_json(parser)
    parser.add_argument("--quick", action="store_true", help="small numbers: shows that it runs, not how fast")
    parser.add_argument("--texts", type=Path, nargs="+", default=[], metavar="FILE", help="NDJSON, may be gzipped")
    parser.add_argument("--documents", type=int, default=None, metavar="N", help="of throughput; default 1500")
    parser.add_argument("--seconds", type=float, default=None, help="of searching, each time; default 20")
    parser.add_argument("--passages", type=int, default=None, metavar="N", help="of restart; default 1000000")
    given = parser.parse_args()
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    end_when_told()
    quick, report = given.quick, Report()
    for part in given.parts or PARTS:
        match part:
            case "throughput":
                count = given.documents or (160 if quick else 1500)
                report[part] = throughput.measure(documents(given.texts, count), rounds=1 if quick else 3)
            case "searching":
                # more than can be loaded during the measurement
                found = documents(given.texts, 400 if quick else 20_000)
                report[part] = searching.measure(found, seconds=given.seconds or (1.5 if quick else 20.0), quick=quick)
            case _:
                report[part] = restart.measure(given.passages or (3000 if quick else 1_000_000))
    report["wrong"] = [line for found in report.values() for line in found.pop("wrong", [])]
    tell(report, as_json=given.json)


if __name__ == "__main__":
    main()
