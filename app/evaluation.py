"""Measures retrieval quality on a test collection, with the product's own indexer and retriever."""

from __future__ import annotations

import difflib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from ir_measures import RR, R, nDCG

from app.significance import compare
from app.wiring import Wiring
from core.errors import InvalidQuery, UnreadableFile, UnwritableFile
from core.records import Collection, CollectionSettings, Document, SparseScoring
from indexer.fields import FieldMapping, documents
from indexer.pipeline import AddProgress
from indexer.readers import Format, read
from indexer.readers.encoding import decode
from indexer.records import RecordError, Skipped
from indexer.report import AddReport
from retriever.fusion import AUTO, CONVEX, RECIPROCAL_RANK, Fusion
from retriever.legs import Leg, legs_of
from retriever.query import Query
from retriever.rerank import Rerank

DEPTH = 100  # hits that are retrieved and measured for each query
COMPARED = "ndcg@10"
MEASURES = {COMPARED: nDCG @ 10, "recall@100": R @ 100, "mrr@10": RR @ 10}
COLLECTION = "evaluation"

Item = Document | RecordError | Skipped
Run = dict[str, list[tuple[str, float]]]  # by query id: document ids and scores, best first


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A test collection in a folder: `corpus.jsonl` (or `.gz`), `queries.jsonl`, `qrels.tsv` (or `qrels/test.tsv`)."""

    name: str
    corpus: Path
    queries: Mapping[str, str]  # text by id, only those with judgements
    judgements: Mapping[str, Mapping[str, int]]  # by query id and document id; 0 is irrelevant


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The results of an evaluation."""

    dataset: Dataset
    report: AddReport
    settings: Mapping[str, Any]
    runs: Mapping[str, Run]

    def to_json(self) -> dict[str, Any]:
        """{"dataset", "settings", "runs": {run: {measure: mean over the queries}}, "comparisons": [pair of runs]}."""
        figures = {name: ndcg_by_query(run, self.dataset.judgements) for name, run in self.runs.items()}
        return {
            "dataset": self.dataset.name,
            "settings": dict(self.settings),
            "runs": {name: measure(run, self.dataset.judgements) for name, run in self.runs.items()},
            "comparisons": [found.to_json() for found in compare(figures)],
        }


def read_dataset(folder: Path) -> Dataset:
    """Read the test collection in `folder`; the corpus itself is not read yet.

    Raises UnreadableFile, which names the file, the line and what is expected, and InvalidQuery for an empty query.
    """
    if not folder.is_dir():
        raise UnreadableFile(f"no such folder: {folder}", param="dir")
    corpus = _file(folder, "corpus.jsonl", "corpus.jsonl.gz")
    qrels = _file(folder, "qrels.tsv", "qrels/test.tsv")  # BEIR has the latter
    judged, judgements = read_judged(_file(folder, "queries.jsonl"), qrels)
    return Dataset(name=folder.resolve().name, corpus=corpus, queries=judged, judgements=judgements)


def read_judged(queries_file: Path, qrels: Path) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """Return the queries that have judgements, text by id, and the judgements by query id and document id.

    Raises UnreadableFile, and InvalidQuery for an empty query.
    """
    queries = dict(_read_queries(queries_file))
    judgements = _read_judgements(qrels)
    unknown = sorted(judgements.keys() - queries.keys())
    if unknown:
        raise UnreadableFile(f"{qrels}: query {unknown[0]!r} is not in {queries_file.name}")
    return {id: text for id, text in queries.items() if id in judgements}, judgements


def evaluate(
    parts: Wiring,
    dataset: Dataset,
    *,
    whole_documents: bool = False,
    sparse: SparseScoring = SparseScoring.BM25,
    sparse_model: str | None = None,
    rerank: Rerank | None = None,
    on_indexed: Callable[[AddProgress], None] | None = None,
    on_searched: Callable[[int], None] | None = None,
) -> Evaluation:
    """Index the corpus into a new collection and search it with each leg alone and with all legs, as a user would.

    The runs: one per leg, under its name; "hybrid", all legs with the default fusion; and one for each other fusion
    method, under its name.

    `sparse_model`: the name of the model for learned weights, needed if `sparse` includes them. `rerank`: adds a run
    "reranked", the hybrid one with this reranking. `on_searched` is called with the number of searches done so far.
    """
    wanted = CollectionSettings(whole_documents=whole_documents, sparse=sparse)
    collection = parts.create_collection(COLLECTION, wanted, sparse_model=sparse_model)
    unseen = {id for judged in dataset.judgements.values() for id in judged}
    items = _seen(documents(_corpus(dataset.corpus), FieldMapping()), unseen)
    report = parts.pipeline.add(COLLECTION, items, on_progress=on_indexed)
    _check_judged(dataset, unseen)
    runs: dict[str, Run] = {}
    done = 0
    for name, asked in _runs(collection, rerank).items():
        runs[name] = {}
        for id, text in dataset.queries.items():
            result = parts.searcher.search(COLLECTION, Query(text=text, k=DEPTH, **asked))
            runs[name][id] = [(hit.document_id, hit.score) for hit in result.hits]
            done += 1
            if on_searched is not None:
                on_searched(done)
    settings = {
        "model": collection.active.model,
        "fingerprint": collection.active.fingerprint,
        "whole_documents": whole_documents,
        "language": collection.settings.language,
        "overlap_tokens": collection.settings.overlap_tokens,
        "k1": collection.settings.k1,
        "b": collection.settings.b,
        "title_weight": collection.settings.title_weight,
        "sparse": sparse.value,
        "sparse_model": collection.active.sparse_model,
        "sparse_fingerprint": collection.active.sparse_fingerprint,
        "fusion": AUTO,
        "alpha": collection.settings.alpha,
        "rerank": None if rerank is None else asdict(rerank),
        "depth": DEPTH,
        "documents": report.created,
        "documents_failed": report.failed_count,
        "judged_documents_missing": len(unseen),
        "queries": len(dataset.queries),
    }
    return Evaluation(dataset=dataset, report=report, settings=settings, runs=runs)


def measure(run: Run, judgements: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """Return the mean of each measure, as trec_eval defines it, over all judged queries, also those without hits.

    Hits are ranked by their position in the run, not by their scores.
    """
    found = ir_measures.calc_aggregate(MEASURES.values(), _relevance(judgements), _scored(run))
    return {name: float(found[kind]) for name, kind in MEASURES.items()}


def ndcg_by_query(run: Run, judgements: Mapping[str, Mapping[str, int]]) -> list[float]:
    """Return nDCG@10 of every judged query, in the order of the judgements; hits are ranked by their position."""
    kind = MEASURES[COMPARED]
    values = {
        found.query_id: float(found.value)
        for found in ir_measures.iter_calc([kind], _relevance(judgements), _scored(run))
    }
    return [values.get(query, 0.0) for query in judgements]


def write_run(path: Path, name: str, run: Run) -> None:
    """Write the run in TREC format: query, Q0, document, rank, score, name. Raises UnwritableFile.

    Scores that do not decrease with the rank are lowered.
    """
    lines = [
        f"{query} Q0 {document} {rank} {score} {name}\n"
        for query, hits in run.items()
        for rank, ((document, _), score) in enumerate(zip(hits, _falling(score for _, score in hits), strict=True), 1)
    ]
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise UnwritableFile(f"cannot write {path}: {error.strerror}", param="run_file") from None


def run_count(sparse: SparseScoring, rerank: Rerank | None = None) -> int:
    """Return the number of runs, which is how often every query is searched."""
    return (6 if sparse is SparseScoring.BOTH else 5) + (rerank is not None)


def _runs(collection: Collection, rerank: Rerank | None) -> dict[str, dict[str, Any]]:
    """Return each run's arguments of Query other than text and k, by the name of the run."""
    legs = legs_of(collection, None)
    alone = {leg.value: {"legs": (leg,)} for leg in (Leg.SPARSE, Leg.LEARNED, Leg.DENSE) if leg in legs}
    others = {method: {"fusion": Fusion(method=method)} for method in (CONVEX, RECIPROCAL_RANK)}
    return {**alone, "hybrid": {}, **others, **({} if rerank is None else {"reranked": {"rerank": rerank}})}


def _falling(scores: Iterable[float]) -> Iterator[np.float32]:
    """Yield the scores as float32, lowered where necessary so that each is below the one before.

    trec_eval reads scores as float32, sorts by them and breaks ties by document id, which would change the order:
    scores can be equal, and those below a reranker's window are on another scale.
    """
    last = np.float32(np.inf)
    for score in scores:
        last = min(np.float32(score), np.nextafter(last, np.float32(-np.inf)))
        yield last


def _relevance(judgements: Mapping[str, Mapping[str, int]]) -> list[ir_measures.Qrel]:
    return [
        ir_measures.Qrel(query, document, score)
        for query, judged in judgements.items()
        for document, score in judged.items()
    ]


def _scored(run: Run) -> list[ir_measures.ScoredDoc]:
    """Score hits by their position: the measures sort by float32 scores and break ties by document id."""
    return [
        ir_measures.ScoredDoc(query, document, -place)
        for query, hits in run.items()
        for place, (document, _) in enumerate(hits)
    ]


def _seen(items: Iterator[Item], unseen: set[str]) -> Iterator[Item]:
    """Yield `items`, and remove the id of each document from `unseen`."""
    for item in items:
        if isinstance(item, Document):
            unseen.discard(item.id)
        yield item


def _check_judged(dataset: Dataset, unseen: set[str]) -> None:
    judged = {id for judgements in dataset.judgements.values() for id in judgements}
    if unseen == judged:
        raise UnreadableFile(
            f"none of the {len(judged)} documents that qrels.tsv of {dataset.name} judges is in the corpus, such as "
            f"{min(judged)!r}: do both name documents by the same ids?"
        )


def _corpus(path: Path) -> Iterator[Any]:
    return read(path, format=Format.NDJSON)


def _read_queries(path: Path) -> Iterator[tuple[str, str]]:
    for item in documents(read(path, format=Format.NDJSON)):
        if isinstance(item, Skipped):
            continue
        if isinstance(item, RecordError):
            raise UnreadableFile(f"{item}; every line must be like {{'_id': '1', 'text': 'a query'}}")
        if not item.text.strip():
            raise InvalidQuery(f"{path}: the query {item.id!r} is empty")
        yield item.id, item.text


def _read_judgements(path: Path) -> dict[str, dict[str, int]]:
    judgements: dict[str, dict[str, int]] = {}
    try:
        lines = io.StringIO(decode(path.read_bytes()), newline=None)  # splitlines would also split within ids
    except OSError as error:
        raise UnreadableFile(f"{path}: {error}") from None
    except UnreadableFile as error:
        raise UnreadableFile(f"{path}: {error.message}") from None
    for number, line in enumerate(lines, start=1):
        fields = line.rstrip("\n").split("\t")
        if not line.strip() or (number == 1 and _is_header(fields)):
            continue
        try:
            query, document, score = fields
            judgements.setdefault(query, {})[document] = int(score)
        except ValueError:
            raise UnreadableFile(
                f"{path}, line {number}: must be query id, document id and a whole number, separated by tabs"
            ) from None
    if not judgements:
        raise UnreadableFile(f"{path} holds no judgements")
    return judgements


def _is_header(fields: Sequence[str]) -> bool:
    """Whether the first line is a header: three fields, the last not a number.

    A number such as 1.0 is no header, but an invalid judgement.
    """
    if len(fields) != 3:
        return False
    try:
        float(fields[-1])
    except ValueError:
        return True
    return False


def _file(folder: Path, *names: str) -> Path:
    """The first of these that is there."""
    found = next((path for name in names if (path := folder / name).is_file()), None)
    if found is not None:
        return found
    present = sorted(path.name for path in folder.iterdir())
    near = difflib.get_close_matches(names[0], present, n=1)
    hint = f"; is it {near[0]}?" if near else f"; there is {', '.join(present[:8]) or 'nothing'}"
    raise UnreadableFile(f"{folder} holds no {' or '.join(names)}{hint}", param="dir")
