"""python -m bench.service: the same passages, model and queries, over HTTP, one server after the other.

Settings: Salience's collection has `whole_documents` and `language: "en"`, so that each text is one passage there, too;
txtai's index `hybrid` and `content`, to have a sparse leg and the texts; chromadb's `cosine`. Else all have their
defaults: so Salience computes in bf16 where the processor has it, and the peers in fp32.

`clients_1`, `clients_8`: queries that hardly any server was asked before, the judged ones of at least five words, with
these in other orders. `again_1`, `again_8`: the judged ones, again and again, as Salience remembers
what its model made of a query. First all of that in one process, then what is new in `--processes`, each with its
share of the cores: Salience's `--workers`, uvicorn's for txtai (which can only be searched then), and as many clients
for chromadb, as it is they who embed. All processes have their model, and have searched for a while unmeasured, before
a round begins.

`ahead_of_peers`: at least twice the throughput of the better peer in new queries, with 1 client and with 8, each in as
many processes as suit it best, at no lower nDCG@10 than any. Times in milliseconds, memory in MiB
(`proportional` in bench.memory).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ir_measures
from rich.console import Console
from rich.table import Table

from bench.command import Report, add_json, tell
from bench.corpus import DATA
from bench.processes import end_when_told
from bench.service.passages import Sample, read_sample
from bench.service.servers import Chroma, Salience, Server, Txtai
from embedder.kinds import DEFAULT_MODEL, model_folder

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = (1, 8)
NEW, AGAIN = "clients", "again"  # rounds
WARM_SECONDS = 2.0  # of searching before the rounds
GOAL = 2.0  # times the better peer's throughput
SERVERS: dict[str, type[Server]] = {"salience": Salience, "txtai": Txtai, "chromadb": Chroma}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.service", description=__doc__)
    add_json(parser)
    parser.add_argument("--quick", action="store_true", help="2,000 passages: shows that it runs, not how fast")
    parser.add_argument("--passages", type=int, default=None, metavar="N", help="default 20000")
    parser.add_argument("--seconds", type=float, default=None, help="of searching, each time; default 20")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="beside one; default 2")
    parser.add_argument("--data", type=Path, default=DATA, help="the test collections")
    parser.add_argument("--only", choices=SERVERS, action="append", help="default: all three")
    given = parser.parse_args()
    end_when_told()
    sample = read_sample(given.data, given.passages or (2000 if given.quick else 20_000))
    seconds = given.seconds or (2.0 if given.quick else 20.0)
    names = list(given.only or SERVERS)
    peers = Path(sys.executable) if names == ["salience"] else _peers()
    report: Report = {"passages": len(sample.passages), "queries": len(sample.queries)}
    for name in names:
        print(f"{name}: filling and searching, some minutes ...", file=sys.stderr)
        report[name] = measured(SERVERS[name], sample, peers, seconds, given.processes)
        print(f"{name}: {json.dumps(report[name])}", file=sys.stderr)
    if set(SERVERS) <= set(report):
        report = {"ahead_of_peers": _ahead(report), **report}
    tell(report, as_json=given.json, show=_show)


def measured(kind: type[Server], sample: Sample, peers: Path, seconds: float, processes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        server = kind(Path(folder), model_folder(Path(DEFAULT_MODEL)), peers)
        with server.running(1):
            start = time.perf_counter()
            server.fill(sample.passages)
            found: dict[str, Any] = {"legs": server.legs, "fill_seconds": round(time.perf_counter() - start, 1)}
            found["ndcg@10"] = _ndcg(sample, server.searched(sample.queries, clients=1, seconds=0)["answers"])
            found["processes"] = {"1": _searched(server, sample, seconds, (NEW, AGAIN))}
        if processes > 1:
            with server.running(processes):
                found["processes"][str(processes)] = _searched(server, sample, seconds, (NEW,))
        return found


def _searched(server: Server, sample: Sample, seconds: float, rounds: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    server.searched(sample.queries, clients=max(CLIENTS), seconds=WARM_SECONDS, shuffled=0)
    for clients in CLIENTS:
        for round_ in rounds:
            shuffled = clients if round_ == NEW else None
            done = server.searched(sample.queries, clients=clients, seconds=seconds, shuffled=shuffled)
            del done["answers"]
            found[f"{round_}_{clients}"] = done
    return {"memory": round(server.memory() / 2**20), "rounds": found}


def _ndcg(sample: Sample, answers: dict[str, list[str]]) -> float:
    run = {query: {hit: -float(place) for place, hit in enumerate(hits)} for query, hits in answers.items()}
    measure = ir_measures.nDCG @ 10
    return round(float(ir_measures.calc_aggregate([measure], sample.judgements, run)[measure]), 4)


def _ahead(report: dict[str, Any]) -> bool:
    ours, peers = report["salience"], [report[name] for name in SERVERS if name != "salience"]
    return all(ours["ndcg@10"] >= peer["ndcg@10"] for peer in peers) and all(
        _best(ours, f"{NEW}_{count}") >= GOAL * _best(peer, f"{NEW}_{count}") for peer in peers for count in CLIENTS
    )


def _best(server: dict[str, Any], round_: str) -> float:
    return max(float(found["rounds"][round_]["throughput"]) for found in server["processes"].values())


def _peers() -> Path:
    """The Python of an environment with the peers, made once below `.cache/peers`."""
    folder, requirements = ROOT / ".cache" / "peers" / "venv", Path(__file__).with_name("peers.txt")
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    if not (stamp.is_file() and stamp.read_text() == requirements.read_text()):
        print("Installing the peers ...", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        for packages in (["torch==2.13.0"], ["-r", str(requirements)]):
            command = [str(python), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *packages]
            subprocess.run(command, check=True, stdout=sys.stderr)
        stamp.write_text(requirements.read_text())
    return python


def _show(report: dict[str, Any]) -> None:
    columns = ("server", "processes", "round", "p50 ms", "p95 ms", "searches/s", "MiB")
    table = Table(*columns, title=f"{report['passages']} passages, {report['queries']} judged queries")
    servers = {name: report[name] for name in SERVERS if name in report}
    for name, server in servers.items():
        for processes, found in server["processes"].items():
            for round_, done in found["rounds"].items():
                cells = (done["p50"], done["p95"], done["throughput"], found["memory"])
                table.add_row(name, processes, round_, *map(str, cells))
    console = Console()
    console.print(table)
    for name, server in servers.items():
        console.print(f"{name}: {server['legs']}, nDCG@10 {server['ndcg@10']}, filled in {server['fill_seconds']} s")
    if "ahead_of_peers" in report:
        console.print(f"ahead of the peers ({GOAL:g} x the throughput, no lower nDCG): {report['ahead_of_peers']}")


if __name__ == "__main__":
    main()
