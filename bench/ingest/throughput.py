"""Measure documents per second through a job, up to the last commit and seal, compared with the bare encoder."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from core.prompts import Prompt
from core.protocols import Encoder, Priority
from core.records import CollectionSettings, Document, Representation
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.loading import load_encoder
from indexer.drafting import Drafter
from indexer.intake import receive
from indexer.pipeline import Pipeline
from indexer.worker import Worker
from store import Database, catalog
from store.maintenance import Maintenance, maintain_once

TARGET = 0.85  # least share of the bare encoder's speed
_BATCH_DOCUMENTS = 128  # documents whose passages the bare encoder gets at once


def measure(documents: Sequence[Document], *, rounds: int) -> dict[str, Any]:
    """The report. The two take turns, and times are medians in seconds. The model is loaded and warm before."""
    encoder, analyzer = load_encoder(device="cpu"), Analyzer()
    batches = list(_prompts(documents, encoder, analyzer))
    encoder.encode(batches[0], Representation.DOCUMENT, priority=Priority.BULK)
    bare, whole, reading, processor = (list[float]() for _ in range(4))
    for _ in range(rounds):
        began, used = time.perf_counter(), time.process_time()
        for prompts in batches:
            encoder.encode(prompts, Representation.DOCUMENT, priority=Priority.BULK)
        bare.append(time.perf_counter() - began)
        spent = time.process_time() - used
        began, used = time.perf_counter(), time.process_time()
        reading.append(_load(documents, encoder, analyzer))
        whole.append(time.perf_counter() - began)
        processor.append((time.process_time() - used) / spent)
    return {
        "documents": len(documents),
        "passages": sum(map(len, batches)),
        "bare_documents_per_second": len(documents) / median(bare),
        "documents_per_second": len(documents) / median(whole),
        "share": median(bare) / median(whole),
        "target": TARGET,
        "receiving_seconds": median(reading),
        "processor_time_of_bare": median(processor),
    }


def _prompts(documents: Sequence[Document], encoder: Encoder, analyzer: Analyzer) -> list[list[Prompt]]:
    """The passages' prompts as a job makes them, in batches."""
    drafter = Drafter(CollectionSettings(), encoder, analyzer)
    batches = []
    for begin in range(0, len(documents), _BATCH_DOCUMENTS):
        drafts = [drafter.complete(drafter.outline(document)) for document in documents[begin:][:_BATCH_DOCUMENTS]]
        batches.append([prompt for drafted in drafts for prompt in drafted.prompts.values()])
    return batches


def _load(documents: Sequence[Document], encoder: Encoder, analyzer: Analyzer) -> float:
    """Load the documents into an empty directory, as `salience add` does; the seconds until the job was received."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(Path(folder) / "data")
        with database.write() as session:
            collection = catalog.create_collection(
                session,
                "bench",
                CollectionSettings(),
                model=encoder.name,
                fingerprint=encoder.fingerprint,
                dimension=encoder.dimension,
            )
        worker = Worker(database, Pipeline(database, only(encoder), analyzer))
        with Maintenance(database).running():
            job = receive(database, collection, ((None, document) for document in documents), receiver="bench")
            received = time.perf_counter()
            job = worker.finish(job.id)
        maintain_once(database)
        database.close()
    assert job.created == len(documents)
    return received - began
