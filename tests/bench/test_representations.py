"""The bench of representations: its search against a loop, and what a swap must and must not change."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from app.evaluation import measure, read_dataset
from bench.representations import run
from core.prompts import Prompt
from core.records import Representation
from embedder.loading import load_encoder
from embedder.local import LocalEncoder
from tests.embedder.tiny import WORDS, save_tiny_model, write_json


def dataset(folder: Path) -> Path:
    source = np.random.default_rng(1)
    corpus = [{"_id": f"d{n}", "text": " ".join(source.choice(WORDS, 5))} for n in range(30)]
    queries = [{"_id": f"q{n}", "text": " ".join(source.choice(WORDS, 3))} for n in range(6)]
    write_json(folder / "corpus.jsonl", None)
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels.tsv").write_text("".join(f"q{n}\td{2 * n}\t1\nq{n}\td{2 * n + 1}\t2\n" for n in range(6)))
    return folder


def test_a_swap_matters_to_a_model_with_two_prompts(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", prompts={"query": "query : ", "document": "passage : train wolf "})
    data = read_dataset(dataset(tmp_path / "data"))
    encoder = load_encoder(str(folder), device="cpu")
    runs = run(encoder, data)["runs"]
    assert runs["as meant"] != runs["swapped"]
    texts = {row["_id"]: row["text"] for row in map(json.loads, data.corpus.read_text().splitlines())}
    slow = {}
    for id, query in data.queries.items():
        vector = encoder.encode([Prompt.of(query)], Representation.QUERY).vectors[0]
        scores = {
            name: float(vector @ encoder.encode([Prompt.of(text)], Representation.DOCUMENT).vectors[0])
            for name, text in texts.items()
        }
        slow[id] = sorted(scores.items(), key=lambda entry: -entry[1])
    assert runs["as meant"] == measure(slow, data.judgements)


def test_a_swap_does_not_matter_to_a_model_without_prompts(encoder: LocalEncoder, tmp_path: Path) -> None:
    runs = run(encoder, read_dataset(dataset(tmp_path / "data")))["runs"]
    assert runs["as meant"] == runs["swapped"] == runs["both symmetric"]
