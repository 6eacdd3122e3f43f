from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.evaluation import MEASURES, Run, measure, ndcg_by_query, read_dataset, write_run
from app.tuning import ndcg
from core.errors import UnreadableFile

CORPUS = [
    {"_id": "1", "title": "Consoles", "text": "Play games on your TV with a console."},
    {"_id": "2", "title": "", "text": "A radio for the kitchen."},
    {"_id": "3", "title": "Bread", "text": "How to bake bread with sourdough."},
    {"_id": "4", "title": "", "text": ""},
]
QUERIES = [
    {"_id": "a", "text": "bake sourdough bread"},
    {"_id": "b", "text": "console games^2 on TV"},
    {"_id": "unjudged", "text": "anything"},
]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    corpus = "\n".join(map(json.dumps, CORPUS))
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(corpus.encode()))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, QUERIES)))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\na\t3\t2\nb\t1\t1\nb\t2\t0\n")
    return folder


def test_eval_measures_every_run(dataset: Path, salience: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    run_file = tmp_path / "run.trec"
    code, out, err = salience("eval", str(dataset), "--json", "--whole-documents", "--run-file", str(run_file))
    assert code == 0
    assert "1 documents could not be used" in err
    result = json.loads(out)
    assert set(result) == {"dataset", "settings", "runs", "comparisons"}
    assert result["dataset"] == "tiny"
    assert result["settings"]["whole_documents"] is True
    assert (result["settings"]["documents"], result["settings"]["queries"]) == (3, 2)
    perfect = {"ndcg@10": 1.0, "recall@100": 1.0, "mrr@10": 1.0}
    runs = ["sparse", "dense", "hybrid", "convex", "rrf"]
    assert result["runs"] == dict.fromkeys(runs, perfect)
    assert [(pair["better"], pair["worse"]) for pair in result["comparisons"]] == list(combinations(runs, 2))
    assert {(pair["difference"], pair["p"], pair["significant"]) for pair in result["comparisons"]} == {(0, 1, False)}
    rows = [line.split() for line in run_file.read_text().splitlines()]
    assert [row[:4] for row in rows if row[3] == "1"] == [["a", "Q0", "3", "1"], ["b", "Q0", "1", "1"]]
    assert all(row[5] == "hybrid" for row in rows)
    assert run_file.with_name("run.trec.sparse").read_text().split()[5] == "sparse"
    assert not (tmp_path / "data").exists()  # everything went into a temporary directory


def test_judgements_of_other_documents_are_refused(
    dataset: Path, salience: Callable[..., tuple[int, str, str]]
) -> None:
    (dataset / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\na\tdoc-3\t2\n")
    code, out, err = salience("eval", str(dataset), "--json")
    assert (code, out) == (1, "")
    assert "none of the 1 documents" in err
    assert "'doc-3'" in err


def test_judged_documents_that_the_corpus_lacks_are_counted(
    dataset: Path, salience: Callable[..., tuple[int, str, str]]
) -> None:
    (dataset / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\na\t3\t2\na\tgone\t1\n")
    assert json.loads(salience("eval", str(dataset), "--json")[1])["settings"]["judged_documents_missing"] == 1


def test_measures_equal_the_textbook() -> None:
    judgements = {"a": {"1": 3, "2": 1, "9": 2}, "b": {"1": 1}, "silent": {"5": 1}}
    run = {"a": [("2", 0.9), ("7", 0.8), ("1", 0.7)], "b": [("4", 0.5), ("1", 0.4)]}
    gain = 1 / math.log2(2) + 3 / math.log2(4)
    ideal = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    found = measure(run, judgements)
    assert found["ndcg@10"] == pytest.approx((gain / ideal + 1 / math.log2(3) + 0) / 3)
    assert ndcg_by_query(run, judgements) == pytest.approx([gain / ideal, 1 / math.log2(3), 0])
    assert found["recall@100"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found["mrr@10"] == pytest.approx((1 + 1 / 2 + 0) / 3)


SHOWN = {  # 60 documents of a query in the order shown, by what their scores do
    "of a reranker, then of another scale": [0.1, 0.05, 0.01] + [0.9 - i / 1000 for i in range(57)],
    "equal": [0.5] * 60,
    "apart in float64 alone": [0.5 - i * 1e-12 for i in range(60)],
    "zero": [0.0] * 60,
}


@pytest.mark.parametrize("scores", SHOWN.values(), ids=SHOWN.keys())
@pytest.mark.parametrize("step", [1, -1])
def test_the_order_shown_is_what_is_measured(scores: list[float], step: int, tmp_path: Path) -> None:
    """Whatever the scores are, and whichever way the names of the documents are sorted."""
    names = [f"d{number:02}" for number in range(60)][::step]
    run = {"q": list(zip(names, scores, strict=True))}
    judgements = {"q": {names[0]: 1, names[5]: 2, names[40]: 1}}
    found = measure(run, judgements)
    assert found == {
        "ndcg@10": pytest.approx((1 + 2 / math.log2(7)) / (2 + 1 / math.log2(3) + 1 / math.log2(4))),
        "recall@100": 1.0,
        "mrr@10": 1.0,
    }
    assert _read_again(tmp_path, run, judgements) == found


@given(order=st.permutations([f"d{number:02}" for number in range(20)]), levels=st.integers(1, 4))
def test_eval_and_tune_say_the_same_of_a_ranking(order: list[str], levels: int) -> None:
    judged = {name: int(name[1:]) % 7 - 1 for name in order[3:] if name != "d05"}
    run = {"q": [(name, -float(place * levels // 20)) for place, name in enumerate(order)]}
    ranked = [max(judged.get(name, 0), 0) for name in order]
    assert ndcg_by_query(run, {"q": judged}) == [pytest.approx(ndcg(ranked, [max(n, 0) for n in judged.values()]))]


def _read_again(folder: Path, run: Run, judgements: dict[str, dict[str, int]]) -> dict[str, float]:
    """What trec_eval makes of the run's file."""
    write_run(folder / "run", "hybrid", run)
    rows = ir_measures.read_trec_run(str(folder / "run"))  # type: ignore[no-untyped-call]
    qrels = [ir_measures.Qrel(query, *entry) for query, judged in judgements.items() for entry in judged.items()]
    found = ir_measures.calc_aggregate(MEASURES.values(), qrels, rows)
    return {name: found[kind] for name, kind in MEASURES.items()}


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("corpus.jsonl.gz", None, "holds no corpus.jsonl or corpus.jsonl.gz"),
        ("qrels.tsv", None, "holds no qrels.tsv or qrels/test.tsv; there is"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\n", "holds no judgements"),
        ("qrels.tsv", "a\t3\t1\na 3 1\n", "qrels.tsv, line 2: must be"),
        ("qrels.tsv", "a 3 1\n", "qrels.tsv, line 1: must be"),
        ("qrels.tsv", "a\t3\t1.0\na\t2\t0\n", "qrels.tsv, line 1: must be"),  # no header, to be passed over
        ("qrels.tsv", "a\t3\t\0\n", "qrels.tsv: binary file"),
        ("qrels.tsv", "z\t3\t1\n", "query 'z' is not in queries.jsonl"),
        ("queries.jsonl", '{"_id": "a", "text": ', "queries.jsonl, line 1"),
        ("queries.jsonl", '{"_id": "a", "text": ""}', "queries.jsonl, line 1"),
    ],
)
def test_malformed_folders(dataset: Path, file: str, content: str | None, said: str) -> None:
    if content is None:
        (dataset / file).unlink()
    else:
        (dataset / file).write_text(content)
    with pytest.raises(UnreadableFile) as raised:
        read_dataset(dataset)
    assert said in raised.value.message


def test_a_folder_of_beir_is_read_as_it_is(dataset: Path) -> None:
    (dataset / "qrels").mkdir()
    (dataset / "qrels.tsv").rename(dataset / "qrels" / "test.tsv")
    (dataset / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\na\t1\t1\n")
    assert read_dataset(dataset).judgements == {"a": {"3": 2}, "b": {"1": 1, "2": 0}}
    (dataset / "qrels.tsv").write_text("a\t2\t1\n")
    assert read_dataset(dataset).judgements == {"a": {"2": 1}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("header", ["", "query-id\tcorpus-id\tscore\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_judgements_as_spreadsheets_write_them(dataset: Path, encoding: str, header: str, end: str) -> None:
    odd = "3\u2028\x85\x0b"  # an id may hold these
    rows = f"{header}a\t3\t2\nb\t{odd}\t1\n".replace("\n", end)
    (dataset / "qrels.tsv").write_bytes(rows.encode(encoding))
    assert read_dataset(dataset).judgements == {"a": {"3": 2}, "b": {odd: 1}}


def test_a_run_file_that_cannot_be_written_costs_no_measurement(
    dataset: Path, salience: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, out, err = salience("eval", str(dataset), "--run-file", str(tmp_path / "none" / "run.trec"))
    assert (code, out) == (1, "")
    assert "there is no folder" in err
    (tmp_path / "taken").mkdir()
    code, out, err = salience("eval", str(dataset), "--json", "--run-file", str(tmp_path / "taken"))
    assert code == 1
    assert "cannot write" in err
    assert json.loads(out)["runs"]
