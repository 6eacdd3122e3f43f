"""One run of the benchmark: fill, search and write; reindex while killing the server; check; roll back."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from app.evaluation import measure
from bench.processes import started
from bench.reindex.load import BASE, NAME, Searching, Writing, search_body
from bench.reindex.oracle import Oracle
from bench.reindex.server import Client, Server, Unanswered, bring_in
from bench.reindex.texts import Texts
from core.protocols import Encoder
from core.reindexes import ReindexState

SEARCHED = 60  # queries of the searching clients
_OVER = {state.value for state in ReindexState} - {"building", "validating", "ready"}
_REINDEX = f"/v1/admin/collections/{NAME}/reindex"
_ENDS_SECONDS = 3600.0


def run(
    texts: Texts,
    *,
    environment: Mapping[str, str],
    model: str,
    old: Encoder,
    new: Encoder,
    kills: int,
    share: float,
    seconds: float,
) -> dict[str, Any]:
    """The report. `model`: the new model's name in the settings of `environment`; `seconds`: of load before and after.

    `wrong` has the first failures of each kind.
    """
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "data"
        directory.mkdir()
        with Server(directory, environment) as server, closing(Client(server)) as client:
            report = _course(server, client, texts, model, old, new, kills, share, seconds)
        with started("verify", "--json", data_dir=directory, environment=environment) as verifying:
            report["verified"] = verifying.wait() == 0
    return {**report, "wrong": [*report.pop("wrong"), *([] if report["verified"] else ["verify found damage"])]}


def _course(
    server: Server,
    client: Client,
    texts: Texts,
    model: str,
    old: Encoder,
    new: Encoder,
    kills: int,
    share: float,
    seconds: float,
) -> dict[str, Any]:
    report: dict[str, Any] = {"filling_s": _fill(client, texts), **_size(client)}
    some = list(texts.queries)[:: max(1, len(texts.queries) // SEARCHED)]
    queries = {query: texts.queries[query] for query in some}
    first, quality = _quiet(client, texts, queries)
    searching, writing = Searching(server, queries), Writing(server, list(texts.documents.values()))
    searching.start()
    writing.start()
    try:
        began = _load_for(seconds)
        asked_at = time.monotonic()
        client.done("POST", _REINDEX, {"model": model, "share": share})
        begun_s = time.monotonic() - asked_at
        last = _watched(server, client, kills)
        switched = time.monotonic()
        if last["state"] != "switched":
            raise RuntimeError(f"the reindex ended: {last}")
        _load_for(seconds)
        ended = time.monotonic()
        writing.end()
        lost = writing.lost()
        second, quality_after = _quiet(client, texts, queries)  # while the other searches go on
        writing.start()
        _load_for(min(seconds, 3.0))
        at = time.monotonic()
        client.done("POST", f"{_REINDEX}/rollback")
        rollback = time.monotonic() - at
        _load_for(min(seconds, 3.0))
    finally:
        searching.end()
        with suppress(RuntimeError):  # if something else failed, it may have ended already
            writing.end()
    lost_after_rollback = writing.lost()
    generations = {next(iter(first.values()))["generation"]: old, next(iter(second.values()))["generation"]: new}
    oracle = Oracle(generations, queries)
    for query, answer in [*first.items(), *second.items()]:
        oracle.note_quiet(query, answer)
    mixed = oracle.mixed(searching.asked)
    answered = {str(generation): 0 for generation in generations}
    for search in searching.asked:
        answered[str(search.answer["generation"])] = answered.get(str(search.answer["generation"]), 0) + 1
    before, during = searching.times(began, asked_at), searching.times(asked_at, switched)
    return report | {
        "kills": len(server.down),
        "down_s": [round(last - first, 2) for first, last in server.down],
        "reindex_s": round(switched - asked_at, 1),
        "begun_s": round(begun_s, 2),
        "rollback_s": round(rollback, 3),
        "searches": {
            "answered": answered,
            "failed": len(searching.failed),
            "mixed": len(mixed),
            "retried_while_down": searching.retried,
        },
        "search_ms": {"before": before, "during": during, "after": searching.times(switched, ended)},
        "p95_ratio": round(during["p95"] / before["p95"], 2),
        "writes": {
            **writing.counted,
            "refused": len(writing.refused),
            "lost": len(lost),
            "lost_after_rollback": len(lost_after_rollback),
            "slowest_s": round(writing.slowest, 2),
        },
        "wrong": [
            *(f"search failed: {line}" for line in searching.failed[:5]),
            *(f"answer of no one generation: {line}" for line in mixed[:5]),
            *(f"write refused: {line}" for line in writing.refused[:5]),
            *(f"lost: {id}" for id in lost[:5]),
            *(f"lost after the rollback: {id}" for id in lost_after_rollback[:5]),
        ],
        "ndcg@10": {"before": quality, "after": quality_after},
        "report": last["report"],
    }


def _fill(client: Client, texts: Texts) -> float:
    began = time.monotonic()
    client.done("POST", "/v1/collections", {"name": NAME, "settings": texts.settings})
    bring_in(client, NAME, {id: {"text": t, "metadata": {"kind": "base"}} for id, t in texts.documents.items()})
    return round(time.monotonic() - began, 1)


def _size(client: Client) -> dict[str, int]:
    found = client.done("GET", f"/v1/collections/{NAME}/stats")
    return {"documents": found["documents"], "passages": found["passages"]}


def _quiet(client: Client, texts: Texts, queries: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, float]]:
    """The dense-only answers to `queries`, and nDCG@10 of the hybrid search by set of judgements.

    Both search the initial documents only, as the writer's documents repeat texts that are judged.
    """
    path = f"/v1/collections/{NAME}/search"
    alone = {query: client.done("POST", path, search_body(text, dense=True)) for query, text in queries.items()}
    run = {}
    for query in texts.judgements:
        hits = client.done("POST", path, {"query": texts.queries[query], "k": 10, "fields": [], "filter": BASE})["hits"]
        run[query] = [(hit["document_id"], hit["score"]) for hit in hits]
    sets = sorted({query.rpartition("-")[0] for query in run})
    figures = {"all": measure(run, texts.judgements)["ndcg@10"]}
    for name in sets if len(sets) > 1 else []:
        own = {query: gains for query, gains in texts.judgements.items() if query.rpartition("-")[0] == name}
        figures[name] = measure({query: run[query] for query in own}, own)["ndcg@10"]
    return alone, {name: round(value, 4) for name, value in figures.items()}


def _load_for(seconds: float) -> float:
    """Let the load run for `seconds`; the time when that began, by time.monotonic."""
    began = time.monotonic()
    time.sleep(seconds)
    return began


def _watched(server: Server, client: Client, kills: int) -> dict[str, Any]:
    """Watch the reindex until it ends, and kill the server each time another 1/(kills + 1) of the documents is done."""
    ends = time.monotonic() + _ENDS_SECONDS
    while time.monotonic() < ends:
        time.sleep(0.1)
        try:
            status, found = client.once("GET", _REINDEX)
        except Unanswered:
            continue
        if status != 200:
            raise RuntimeError(json.dumps(found))
        if found["state"] in _OVER:
            return dict(found)
        due = (len(server.down) + 1) / (kills + 1)
        if len(server.down) < kills and found["done"] >= due * found["documents"]:
            server.kill()
    raise TimeoutError("the reindex did not end")
