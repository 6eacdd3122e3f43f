"""Measure how soon another process finds a committed document: `python -m bench.visibility [--json]`.

A child process commits documents one by one, with a pause in between; this process opens the newest state again and
again, as a server does for each search. Both use the same monotonic clock. Vectors are random: no model takes part.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.command import add_json, tell
from core.records import CollectionSettings, Document, Passage
from store import Batch, Database, Draft, DraftPassage, Embedding, Views, catalog
from store.commit import commit
from store.filters.metadata import StoredMetadata

DIMENSION = 384
_PAUSE_SECONDS = 0.005


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=10_000, help="that are there before")
    parser.add_argument("--commits", type=int, default=200)
    add_json(parser)
    parser.add_argument("--write", type=Path, metavar="DIRECTORY", help=argparse.SUPPRESS)  # the other process
    chosen = parser.parse_args(arguments)
    if chosen.write is not None:
        _write(chosen.write, chosen.commits)
        return
    with tempfile.TemporaryDirectory() as folder:
        delays = _measure(Path(folder), chosen.passages, chosen.commits)
    found = {f"p{share}_ms": round(float(np.percentile(delays, share)) * 1000, 2) for share in (50, 95, 99)}
    tell({"passages": chosen.passages, "commits": chosen.commits, **found}, as_json=chosen.json)


def _measure(directory: Path, passages: int, commits: int) -> list[float]:
    """Seconds from each commit to the first search in another process that sees its document."""
    database = Database.open(directory)
    with database.write() as session:
        catalog.create_collection(
            session, "bench", CollectionSettings(), model="random", fingerprint="random", dimension=DIMENSION
        )
    for first in range(0, passages, 1000):
        _put(database, [f"before {number}" for number in range(first, min(first + 1000, passages))])
    views = Views(database)
    query = _vector("query")
    with views.open("bench") as view:
        start = view.passage_count
    command = [sys.executable, "-m", "bench.visibility", "--write", str(directory), "--commits", str(commits)]
    found: list[float] = []  # when the nth document was first seen
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        while len(found) < commits:
            with views.open("bench") as view:
                view.nearest(query, 10)
                present = view.passage_count - start
            found += [time.monotonic()] * (present - len(found))
        assert writer.stdout is not None
        committed = [float(line) for line in writer.stdout]
    database.close()
    return [there - then for there, then in zip(found, committed, strict=True)]


def _write(directory: Path, commits: int) -> None:
    database = Database.open(directory)
    for number in range(commits):
        time.sleep(_PAUSE_SECONDS)
        _put(database, [f"new {number}"])
        print(time.monotonic(), flush=True)


def _put(database: Database, texts: Sequence[str]) -> None:
    drafts, embeddings = [], {}
    for text in texts:
        sha = text.encode().ljust(32)
        passage = DraftPassage(passage=Passage(start=0, end=len(text), fresh=0), sha=sha)
        document = Document(id=text, text=text)
        metadata = StoredMetadata.of(document, {})
        drafts.append(Draft(document=document, metadata=metadata, language="en", content_sha=sha, passages=(passage,)))
        embeddings[sha] = Embedding(vector=_vector(text), terms=dict.fromkeys(text.split(), 1))
    with database.read() as session:
        collection = catalog.get_collection(session, "bench")
    with database.write() as session:
        commit(session, Batch(collection=collection, fingerprint="random", drafts=tuple(drafts), embeddings=embeddings))


def _vector(text: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    vector = np.random.default_rng(list(text.encode())).standard_normal(DIMENSION).astype(np.float32)
    return vector / np.linalg.norm(vector)


if __name__ == "__main__":
    main()
