"""What the web page's scripts compute, run in Node where there is one, beside what the server makes of it."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.filter_tokens import KEYWORDS
from core.filter_tree import And, Filter, In
from core.filters import parse_filter
from retriever.syntax import parse

FOLDER = Path(__file__).resolve().parents[2] / "app" / "web"
NODE = shutil.which("node")
FIELDS = [
    *("brand", "a.b", "unit-price", "unit price", "2024", "_id", "$ref", "a`b\\c", "größe", "__proto__", "OR"),
    *KEYWORDS,
]
VALUES: list[Any] = ["Acme", 'it\'s "quoted" or \\ not', "小米", "", 7, -0.5, 1e21, True, False]
SAID = ["", "price < 500", "price < 5 or price > 9", '{"price": {"lt": 500}}', '{"or": [{"a": 1}, {"b": 2}]}']
PIECES = [
    *'aZ9 "\\^.-+_(¿',
    "tv",
    " ",
    "  ",
    "C++",
    "^2",
    "e5",
    "don't",
    "新的电视",
    "הטלוויזיה",
    "é",
    "e\u0301",
    "👨‍👩‍👧",
    "🎮",
    "\u00a0",
]

pytestmark = pytest.mark.skipif(NODE is None, reason="needs node")


def test_a_filter_is_narrowed_in_the_way_it_is_written(tmp_path: Path) -> None:
    cases = [(said, field, value) for said in SAID for field in FIELDS for value in VALUES]
    narrowed = _evaluated(tmp_path, "form.js", "module.narrowed(...given)", cases)
    for (said, field, value), text in zip(cases, narrowed, strict=True):
        alone = In(field=field, values=(value,))
        assert _read(text) == (alone if not said else And(parts=(_read(said), alone))), text


def test_the_factors_of_sliders_are_read_as_they_were_set(tmp_path: Path) -> None:
    chance = random.Random(7)
    texts = ["".join(chance.choices(PIECES, k=chance.randint(1, 9))) for _ in range(1500)]
    set_words = """(() => {
      const segments = [...new Intl.Segmenter(undefined, { granularity: "word" }).segment(given)];
      const found = segments.filter((one) => one.isWordLike);
      const words = found.map(({ segment, index }, place) =>
        ({ start: index, end: index + segment.length, factor: [4, 1, 0, -1, 0.1][(place + given.length) % 5] }));
      return [words, module.written(given, words)];
    })()"""
    for text, (words, query) in zip(texts, _evaluated(tmp_path, "query.js", set_words, texts), strict=True):
        if not any(word["factor"] != 1 for word in words):
            continue
        units = text.encode("utf-16-le")
        before = [len(units[: 2 * word["start"]].decode("utf-16-le")) for word in words]
        after = [len(units[: 2 * word["end"]].decode("utf-16-le")) for word in words]
        wanted = [(one, two, word["factor"]) for one, two, word in zip(before, after, words, strict=True)]
        clean, controls = parse(query)
        assert clean == text, query
        found = [(control.start, control.start + control.length, control.factor) for control in controls]
        assert found == [said for said in wanted if said[2] != 1], query


def test_a_reason_in_short_names_what_brought_more_than_half_and_what_is_missing(tmp_path: Path) -> None:
    def said(sought: list[str], *words: tuple[str, float, float]) -> dict[str, Any]:
        brought = [{"text": text, "dense": dense, "sparse": sparse, "learned": 0.0} for text, dense, sparse in words]
        hit = {"explanation": {"query_words": brought}, "title": "A laptop", "passage": {"text": "with a battery"}}
        return {"hit": hit, "sought": sought}

    cases = {
        "Mostly because of \u201cbattery\u201d.": said([], ("battery", 0.4, 0.2), ("life", 0.1, 0.0)),
        "Mostly because of \u201ca\u201d and \u201cb\u201d; \u201ctravel\u201d is not in it.": said(
            ["travel", "laptops"],
            ("c", 0.1, 0.1),
            ("a", 0.4, 0.0),
            ("b", 0.0, 0.3),
            ("travel", 0.1, 0.0),
            ("with", 0.0, 0.0),
        ),
        "No word of the query raises its score; \u201cbag\u201d and \u201cpen\u201d are not in it.": said(
            ["bag", "pen", "battery"], ("bag", -0.1, 0.0), ("pen", 0.0, 0.0), ("battery", 0.0, 0.0)
        ),
        "": said(["x"]),
    }
    shown = _evaluated(tmp_path, "why.js", "module.inShort(given.hit, new Set(given.sought))", list(cases.values()))
    assert shown == list(cases)


def test_a_swap_says_how_far_both_hits_have_moved(tmp_path: Path) -> None:
    told = """(() => {
      const append = function (...children) { this.text = children.join(""); };
      globalThis.document = { createElement: () => ({ append, setAttribute() {}, addEventListener() {} }) };
      const parts = module.swapped({ words: ["travel"], ...given }, { upper: "A", lower: "B" }, () => {});
      return parts.map((part) => part.text ?? part).join("");
    })()"""
    ranks = {"rank_before": 3, "rank_after": 10, "upper_rank_before": 2, "upper_rank_after": 12}
    cases = [
        {"factors": [1.3], "query": "travel^1.3", **ranks},
        {"factors": [2], "query": None, **ranks, "rank_before": None, "upper_rank_after": None},
    ]
    assert _evaluated(tmp_path, "questions.js", told, cases) == [
        "With travel ×1.3, \u2018B\u2019 (3 \u2192 10) stands above \u2018A\u2019 (2 \u2192 12): both fall. try it",
        "With travel ×2, \u2018B\u2019 (far behind \u2192 10) stands above \u2018A\u2019 (2 \u2192 far behind). ",
    ]


def _read(text: str) -> Filter:
    """As settings() in form.js sends it."""
    return parse_filter(json.loads(text) if text.startswith("{") else text)


def _evaluated(folder: Path, script: str, expression: str, cases: object) -> Any:
    """What `expression` says of each of the `cases`, named `given`, and the script's `module`."""
    for file in FOLDER.glob("*.js"):
        shutil.copy(file, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "asked.js").write_text(
        f'import * as module from "./{script}";\nimport {{ readFileSync }} from "node:fs";\n'
        f"const cases = JSON.parse(readFileSync(0));\n"
        f"console.log(JSON.stringify(cases.map((given) => {expression})));\n"
    )
    assert NODE is not None
    done = subprocess.run(
        [NODE, "asked.js"], cwd=folder, input=json.dumps(cases), check=True, capture_output=True, text=True, timeout=60
    )
    return json.loads(done.stdout)
