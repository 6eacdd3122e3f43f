"""Compare search over HTTP with txtai and chromadb: `python -m bench.service`.

All servers get the same passages, model and queries.

Settings: Salience's collection has `whole_documents` and `language: "en"`, so that each text is one passage there, too;
txtai's index has `hybrid` and `content`, for a sparse leg and the texts; chromadb's has `cosine`. All else is left at
the defaults: so Salience computes in bf16 where the processor supports it, and the peers in fp32.

`clients_1`, `clients_8`: queries that are almost all new to the servers, namely the judged ones of at least five words,
with the words in a different order each time. `again_1`, `again_8`: the judged queries, repeated, as Salience caches
their embeddings.
All of these are run with one process, then the new queries with `--processes`, each with its share of the cores:
Salience's `--workers`, uvicorn's workers for txtai (whose index is read-only then), and as many clients for chromadb,
as its clients do the embedding.

All servers run at the same time, with their models loaded. They are searched in turns of a few seconds, while the
others are idle, so that changes in the machine's speed affect all alike.

`ahead_of_peers`: at least twice the throughput of the better peer in new queries, with 1 client and with 8, each with
its best number of processes, at an nDCG@10 that is not lower than any peer's. Times in milliseconds, memory in MiB
(`proportional` in bench.memory).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import ir_measures
from rich.console import Console
from rich.table import Table

from bench.command import Report, add_json, tell
from bench.corpus import DATA
from bench.processes import end_when_told
from bench.service.driving import summary
from bench.service.passages import Sample, read_sample
from bench.service.servers import Chroma, Salience, Server, Txtai
from embedder.kinds import DEFAULT_MODEL, model_folder

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = (1, 8)
NEW, AGAIN = "clients", "again"  # rounds
WARM_SECONDS = 2.0  # of warm-up searches before the rounds
TURNS = 5  # per round
GOAL = 2.0  # as a multiple of the better peer's throughput
SERVERS: dict[str, type[Server]] = {"salience": Salience, "txtai": Txtai, "chromadb": Chroma}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.service", description=__doc__)
    add_json(parser)
    parser.add_argument("--quick", action="store_true", help="2,000 passages: shows that it runs, not how fast")
    parser.add_argument("--passages", type=int, default=None, metavar="N", help="default 20000")
    parser.add_argument("--seconds", type=float, default=None, help="of each round, in all its turns; default 20")
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
    with tempfile.TemporaryDirectory() as folder:
        servers = {name: SERVERS[name](Path(folder) / name, model_folder(Path(DEFAULT_MODEL)), peers) for name in names}
        for server in servers.values():
            server.folder.mkdir()
        report |= measured(servers, sample, seconds, given.processes)
    if set(SERVERS) <= set(report):
        report = {"ahead_of_peers": _ahead(report), **report}
    tell(report, as_json=given.json, show=_show)


def measured(servers: Mapping[str, Server], sample: Sample, seconds: float, processes: int) -> dict[str, Any]:
    """Start, fill and search the servers, with one and with several processes; the figures of each, by name."""
    with _running(servers, 1):
        found = {name: _filled(name, server, sample) for name, server in servers.items()}
        in_one = _searched(servers, sample, seconds, (NEW, AGAIN))
    for name in servers:
        found[name]["processes"] = {"1": in_one[name]}
    if processes > 1:
        with _running(servers, processes):
            in_several = _searched(servers, sample, seconds, (NEW,))
        for name in servers:
            found[name]["processes"][str(processes)] = in_several[name]
    return found


@contextmanager
def _running(servers: Mapping[str, Server], processes: int) -> Iterator[None]:
    with ExitStack() as stack:
        for name, server in servers.items():
            _say(f"{name} starts, in {processes}")
            stack.enter_context(server.running(processes))
        yield


def _filled(name: str, server: Server, sample: Sample) -> dict[str, Any]:
    _say(f"{name} is filled, which takes some minutes")
    start = time.perf_counter()
    server.fill(sample.passages)
    took = time.perf_counter() - start
    [driven] = server.searched(sample.queries, clients=1, seconds=None)
    return {"legs": server.legs, "fill_seconds": round(took, 1), "ndcg@10": _ndcg(sample, driven["answers"])}


def _searched(
    servers: Mapping[str, Server], sample: Sample, seconds: float, rounds: Sequence[str]
) -> dict[str, dict[str, Any]]:
    driven: dict[str, dict[str, list[list[dict[str, Any]]]]] = {name: {} for name in servers}
    for server in servers.values():
        server.searched(sample.queries, clients=max(CLIENTS), seconds=WARM_SECONDS, shuffled=0)
    for turn, clients, round_ in product(range(TURNS), CLIENTS, rounds):
        _say(f"turn {turn + 1} of {TURNS}, {round_}_{clients}")
        shuffled = 1 + turn * len(CLIENTS) + CLIENTS.index(clients) if round_ == NEW else None
        for name, server in servers.items():
            one = server.searched(sample.queries, clients=clients, seconds=seconds / TURNS, shuffled=shuffled)
            driven[name].setdefault(f"{round_}_{clients}", []).append(one)
    return {
        name: {
            "memory": round(server.memory() / 2**20),
            "rounds": {round_: summary(turns) for round_, turns in driven[name].items()},
        }
        for name, server in servers.items()
    }


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


def _say(what: str) -> None:
    print(f"{what} ...", file=sys.stderr, flush=True)


def _peers() -> Path:
    """The Python of a virtual environment with the peers, which is created once under `.cache/peers`."""
    folder, requirements = ROOT / ".cache" / "peers" / "venv", Path(__file__).with_name("peers.txt")
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    if not (stamp.is_file() and stamp.read_text() == requirements.read_text()):
        _say("the peers are installed")
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
