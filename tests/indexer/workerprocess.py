"""A worker in a process of its own: `python -m tests.indexer.workerprocess DATA_DIR LEASE_SECONDS BATCH_SECONDS`.

It says "at work" when it begins to embed a batch, and what the worker logs. SIGTERM stops it after the batch at hand.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from pathlib import Path

from indexer.worker import JobPolicy, Worker
from store import Database
from tests.indexer.fakes import FakeEncoder, pipeline_of


def main(data_dir: Path, lease_seconds: float, batch_seconds: float) -> None:
    def embed(texts: list[str]) -> None:
        sys.stdout.write(f"at work {texts[0]}\n")
        sys.stdout.flush()
        if any("fatal" in text for text in texts):
            signal.raise_signal(signal.SIGKILL)
        time.sleep(batch_seconds)

    log = logging.getLogger("indexer.worker")
    log.addHandler(logging.StreamHandler(sys.stdout))
    log.setLevel(logging.INFO)
    database = Database.open(data_dir)
    policy = JobPolicy(lease_seconds=lease_seconds, poll_seconds=0.02, turn_seconds=0.2)
    worker = Worker(database, pipeline_of(database, FakeEncoder(embed)), policy)
    signal.signal(signal.SIGTERM, lambda number, frame: worker.stop())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    worker.run()
    database.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
