"""Load very many passages with a remote model, kill the workers half-way, resume, and verify the result.

Memory is the largest of any worker, by `resident` in bench.memory.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench.memory import Peak
from bench.processes import started
from core.records import Document, Int64Array
from indexer.intake import receive
from store import Database
from store.catalog import get_collection
from store.jobs import list_jobs
from store.statistics import statistics

WORKERS = 3
JOBS = 12  # shared by the workers; one worker at a time works on a job
WORDS, WORDS_OF_A_PASSAGE = 50_000, 12
SEED = 20260101
_NAME = "bench"


def measure(passages: int) -> dict[str, Any]:
    """The report; times in seconds. `wrong`: lost passages and damage."""
    with tempfile.TemporaryDirectory() as folder, _remote() as url:
        directory = Path(folder) / "data"
        directory.mkdir()
        environment = {
            "SALIENCE_MODEL": "double",
            "SALIENCE_MODELS__DOUBLE__API": "openai",
            "SALIENCE_MODELS__DOUBLE__URL": url,
            "SALIENCE_MODELS__DOUBLE__MAX_TOKENS": "256",
            "SALIENCE_JOBS__LEASE_SECONDS": "5",
        }
        report: dict[str, Any] = {"passages": passages, "workers": WORKERS}
        report["receiving_s"] = _receive(directory, environment, passages)
        memory: list[Peak] = []
        began = time.monotonic()
        _work(directory, environment, memory, until=passages // 2, kill=True)
        report["first_half_s"] = time.monotonic() - began
        began, before = time.monotonic(), _done(directory)
        _work(directory, environment, memory, until=passages, kill=False)
        report["second_half_s"] = time.monotonic() - began
        loaded = report["first_half_s"] + report["second_half_s"]
        report["passages_per_second"] = passages / loaded
        report["done_when_killed"] = before
        report["own_mib"] = max(seen.own for seen in memory) / 2**20
        report["mapped_mib"] = max(seen.mapped for seen in memory) / 2**20
        began = time.monotonic()
        with started("verify", "--json", data_dir=directory, environment=environment) as verifying:
            report["verified"] = verifying.wait() == 0
        report["verify_s"] = time.monotonic() - began
        report |= _stored(directory)
    wrong = [] if report["verified"] else ["verify found damage"]
    if report["stored"] != passages:
        wrong.append(f"{report['stored']} passages are stored of {passages}")
    return {**report, "wrong": wrong}


@contextmanager
def _remote() -> Iterator[str]:
    """Run the fake remote model during the block; its URL."""
    with subprocess.Popen([sys.executable, "-m", "bench.ingest.remote"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.terminate()


def _receive(directory: Path, environment: dict[str, str], passages: int) -> float:
    """Create the collection and receive all documents into JOBS jobs; the seconds that receiving took."""
    create = ("collections", "create", _NAME, "--language", "en")
    with started(*create, data_dir=directory, environment=environment) as creating:
        if creating.wait() != 0:
            raise RuntimeError((directory.parent / "collections.log").read_text())
    began = time.monotonic()
    database = Database.open(directory)
    with database.read() as session:
        collection = get_collection(session, _NAME)
    for rows in np.array_split(np.arange(passages, dtype=np.int64), JOBS):
        receive(database, collection, ((None, document) for document in _documents(rows)), receiver="bench")
    database.close()
    return time.monotonic() - began


def _documents(rows: Int64Array) -> Iterator[Document]:
    """One document of one passage per row: words by Zipf's law, and a number that makes it unique."""
    random = np.random.default_rng([SEED, int(rows[0])])
    for row in rows.tolist():
        numbers = (WORDS ** random.random(WORDS_OF_A_PASSAGE)).astype(int)
        yield Document(id=f"d{row}", text=f"number {row} " + " ".join(f"w{number}" for number in numbers))


def _work(directory: Path, environment: dict[str, str], memory: list[Peak], *, until: int, kill: bool) -> None:
    """Run the workers until `until` passages are stored; then kill them by SIGKILL, or end them with SIGTERM."""
    with ExitStack() as stack:
        workers = [
            stack.enter_context(started("worker", data_dir=directory, environment=environment)) for _ in range(WORKERS)
        ]
        seen = [Peak(worker.pid) for worker in workers]
        while _done(directory) < until:
            if any(worker.poll() is not None for worker in workers):
                raise RuntimeError((directory.parent / "worker.log").read_text()[-4000:])
            time.sleep(0.5)
        if kill:
            for worker in workers:
                worker.send_signal(signal.SIGKILL)
        for watched in seen:
            watched.end()
        memory += seen


def _done(directory: Path) -> int:
    database = Database.open(directory)
    with database.read() as session:
        jobs = list_jobs(session, limit=JOBS)
    database.close()
    return sum(job.created for job in jobs)


def _stored(directory: Path) -> dict[str, Any]:
    found = statistics(directory)
    (collection,) = found.collections
    return {
        "stored": collection.passages,
        "documents": collection.documents,
        "jobs": dict(found.jobs),
        "segments": collection.segments.files,
        "sealed": collection.segments.rows,
        "unsealed": collection.unsealed,
        "file_mib": found.file_bytes / 2**20,
        "segment_mib": found.segment_files.bytes / 2**20,
    }
