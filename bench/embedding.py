"""Measure embedding speed: `python -m bench.embedding [--json] [--threads N] [--texts FILE]`.

Compares Salience's default encoder with `SentenceTransformer.encode` in fp32, with the same model, texts and threads,
in one process. The contestants take turns, round by round; each figure is a median over the rounds after the first,
which warms up. `ratios` (how many times as fast; `controls` and `concurrent_8` compare Salience with itself):

    passages, passages_int8          256 passages of 20 to 256 tokens, with precision "auto" and "int8"
    single_query, single_query_int8  short queries, one at a time, median latency
    controls                         the passages with a control on each, against the passages without
    concurrent_8                     queries of eight threads through the queue, against one query at a time

`cosine`: of Salience's passage vectors and SentenceTransformer's, by precision; reported as `wrong` if the fp32 vectors
differ. `unsupported` says why a precision has no figures, or cannot be faster, on this machine.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
import re
import statistics
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench.command import add_json, tell
from core.prompts import Prompt, TextControl
from core.protocols import Priority
from core.records import Float32Array, Representation
from embedder.kinds import DEFAULT_MODEL, model_folder
from embedder.loading import load_encoder
from embedder.local import LocalEncoder

PASSAGES = 256
QUERIES = 64
CLIENTS = 8
ASKED = 8  # times that the clients ask each query: warms up many batch sizes, and keeps small last batches few
ROUNDS = 5  # after one to warm up
SHORTEST, LONGEST = 20, 256  # tokens of a passage, special tokens included
SAME = 0.999999  # least cosine of vectors that differ only by rounding
SEED = 20260101
Contestants = dict[str, Sequence[Callable[[], object]]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.embedding", description="Speed against SentenceTransformer.")
    add_json(parser)
    parser.add_argument("--threads", type=int, default=None, metavar="N", help="cores to use (default: all)")
    parser.add_argument("--texts", type=Path, default=None, metavar="FILE", help="NDJSON of objects with a 'text'")
    parser.add_argument("--passages", type=int, default=PASSAGES, metavar="N", help=f"default {PASSAGES}")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, metavar="N", help=f"after one to warm up; default {ROUNDS}"
    )
    arguments = parser.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    report = run(source_texts(arguments.texts), passages=arguments.passages, rounds=arguments.rounds)
    tell(report, as_json=arguments.json, show=_show)


def run(texts: Iterator[str], *, passages: int = PASSAGES, rounds: int = ROUNDS) -> dict[str, Any]:
    """The report: `ratios`, `cosine`, `tokens_per_second`, `query_ms`, `unsupported`, `machine`, `texts`."""
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(model_folder(DEFAULT_MODEL)), device="cpu")
    encoders = {precision: load_encoder(device="cpu", precision=precision) for precision in ("auto", "int8")}
    auto, int8 = encoders["auto"], encoders["int8"]
    chosen = list(cut(auto, texts, passages))
    plain = [Prompt.of(text) for text in chosen]
    steered = [_steered(text) for text in chosen]
    queries = [_query(text) for text in chosen[:QUERIES]]

    bulk: Contestants = {
        "sentence_transformers": [lambda: reference.encode(chosen, normalize_embeddings=True)],
        "auto": [lambda: _embed(auto, plain)],
        "int8": [lambda: _embed(int8, plain)],
        "controls": [lambda: _embed(auto, steered)],
        "unbatched": [lambda: _clients(auto, queries * ASKED, one_at_a_time=True)],
        "concurrent": [lambda: _clients(auto, queries * ASKED, one_at_a_time=False)],
    }
    seconds = _medians(bulk, rounds)
    one: Contestants = {
        "sentence_transformers": [partial(reference.encode, [query], normalize_embeddings=True) for query in queries],
        "auto": [partial(_ask, auto, query) for query in queries],
        "int8": [partial(_ask, int8, query) for query in queries],
    }
    latency = _medians(one, rounds)
    tokens = int(auto.encode(plain, Representation.DOCUMENT).token_counts.sum())
    cosines = _cosines(encoders, plain, reference.encode(chosen, normalize_embeddings=True))
    exact = cosines["fp32"]
    return {
        "ratios": {
            "passages": seconds["sentence_transformers"] / seconds["auto"],
            "passages_int8": seconds["sentence_transformers"] / seconds["int8"],
            "single_query": latency["sentence_transformers"] / latency["auto"],
            "single_query_int8": latency["sentence_transformers"] / latency["int8"],
            "controls": seconds["auto"] / seconds["controls"],
            "concurrent_8": seconds["unbatched"] / seconds["concurrent"],
        },
        "cosine": cosines,
        "tokens_per_second": {
            name: tokens / seconds[name] for name in ("sentence_transformers", "auto", "int8", "controls")
        },
        "query_ms": {name: 1000 * value for name, value in latency.items()},
        "queries_per_second": {name: ASKED * len(queries) / seconds[name] for name in ("unbatched", "concurrent")},
        "unsupported": _unsupported(),
        "machine": _machine(auto),
        "texts": {"passages": len(chosen), "tokens": tokens, "queries": len(queries), "rounds": rounds},
        "wrong": [f"fp32: a cosine of {exact['min']}"] if exact and exact["min"] < SAME else [],
    }


def source_texts(file: Path | None) -> Iterator[str]:
    """The texts of an NDJSON file; without one, the docstrings of each module of Python's standard library."""
    if file is not None:
        with file.open(encoding="utf-8") as lines:
            yield from (str(json.loads(line)["text"]) for line in lines if line.strip())
        return
    for source in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        nodes = ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        documented = (node for node in nodes if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef))
        yield " ".join((ast.get_docstring(node) or "") for node in documented)


def cut(encoder: LocalEncoder, texts: Iterator[str], count: int) -> Iterator[str]:
    """Cut at most `count` consecutive passages out of the texts, their lengths drawn uniformly between the limits."""
    special = encoder.overhead(Representation.DOCUMENT)
    lengths = np.random.default_rng(SEED).integers(SHORTEST, LONGEST, size=count, endpoint=True) - special
    made = 0
    for text in texts:
        spans, start = encoder.token_spans(text), 0
        while made < count and start + lengths[made] <= len(spans):
            piece = spans[start : start + lengths[made]]
            yield text[piece[0, 0] : piece[-1, 1]]
            start += len(piece)
            made += 1
        if made == count:
            return


def _steered(text: str) -> Prompt:
    """The text with a control on the word in its middle."""
    words = list(re.finditer(r"\S+", text))
    start, end = words[len(words) // 2].span()
    return Prompt.of(text, controls=(TextControl(start=start, length=end - start, factor=2.0),))


def _query(text: str) -> str:
    return " ".join(text.split()[:8])


def _embed(encoder: LocalEncoder, prompts: Sequence[Prompt]) -> Float32Array:
    return encoder.encode(prompts, Representation.DOCUMENT, priority=Priority.BULK).vectors


def _ask(encoder: LocalEncoder, query: str) -> Float32Array:
    return encoder.encode([Prompt.of(query)], Representation.QUERY).vectors


def _clients(encoder: LocalEncoder, queries: Sequence[str], *, one_at_a_time: bool) -> None:
    """CLIENTS threads share the queries. With `one_at_a_time`, a lock keeps the queue from batching them."""
    alone = threading.Lock()

    def ask(query: str) -> None:
        if one_at_a_time:
            with alone:
                _ask(encoder, query)
        else:
            _ask(encoder, query)

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(ask, queries))


def _medians(contestants: Contestants, rounds: int) -> dict[str, float]:
    """Median seconds of a run by contestant; in each round, each contestant does all of its runs in sequence."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, runs in contestants.items():
            took = [_seconds(run_once) for run_once in runs]
            if turn:
                seconds[name] += took
    return {name: statistics.median(values) for name, values in seconds.items()}


def _seconds(run_once: Callable[[], object]) -> float:
    start = time.perf_counter()
    run_once()
    return time.perf_counter() - start


def _cosines(
    encoders: dict[str, LocalEncoder], prompts: Sequence[Prompt], expected: Float32Array
) -> dict[str, dict[str, float] | None]:
    """Mean and minimum cosine by precision; None for a precision that was not measured on this machine."""
    vectors = {str(encoder.precision): _embed(encoder, prompts) for encoder in encoders.values()}
    if "fp32" not in vectors:
        vectors["fp32"] = _embed(load_encoder(device="cpu", precision="fp32"), prompts)
    cosines = {name: (found * expected).sum(axis=1) for name, found in vectors.items()}
    return {
        name: {"mean": float(cosines[name].mean()), "min": float(cosines[name].min())} if name in cosines else None
        for name in ("fp32", "bf16", "int8")
    }


def _unsupported() -> dict[str, str]:
    has = torch.cpu.get_capabilities()
    found = {}
    if not (has.get("avx512_bf16") or has.get("amx_bf16")):
        found["bf16"] = "the CPU has neither AVX-512 BF16 nor AMX: auto is fp32"
    if not (has.get("avx512_vnni") or has.get("avx_vnni") or has.get("amx_int8")):
        found["int8"] = "the CPU has neither VNNI nor AMX: weights are int8, products are computed in fp32, no faster"
    return found


def _machine(encoder: LocalEncoder) -> dict[str, Any]:
    return {
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "auto": str(encoder.precision),
        "python": platform.python_version(),
        "versions": {
            name: version(name) for name in ("torch", "openvino", "sentence-transformers", "transformers", "tokenizers")
        },
    }


def _show(report: dict[str, Any]) -> None:
    for key in ("ratios", "tokens_per_second", "query_ms", "queries_per_second"):
        table = Table(title=key)
        for name in report[key]:
            table.add_column(name, justify="right")
        table.add_row(*(f"{value:.2f}" for value in report[key].values()))
        Console().print(table)
    for key in ("cosine", "unsupported", "machine", "texts"):
        Console().print(key, report[key])


if __name__ == "__main__":
    main()
