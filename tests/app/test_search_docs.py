"""Every request of docs/search.md gives what the page says; tests/docs runs its commands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
_FENCE = re.compile(r"(?<!-->\n)^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)  # not those that say why not


def blocks(kind: str) -> list[str]:
    return [content for found, content in _FENCE.findall(TEXT) if found == kind]


def products() -> str:
    """The lines that the README writes into products.jsonl."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"products\.jsonl <<'END'\n(.*?)^END$", readme, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def answers(make_client: Callable[..., TestClient]) -> Iterator[tuple[str, dict[str, Any]]]:
    client = make_client()
    client.post("/v1/collections", json={"name": "products"})
    added = client.post("/v1/collections/products/documents:bulk?wait=true", content=products().encode())
    assert added.json()["created"] == 3

    def run() -> Iterator[tuple[str, dict[str, Any]]]:
        before: dict[str, Any] = {}
        for block in blocks("http"):
            line, _, body = block.partition("\n")
            method, path = line.split()
            body = body.replace("<next>", str(before.get("next")))
            response = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
            assert response.status_code == 200, f"{block}\n{response.text}"
            before = response.json()
            yield body, before

    return run()


def test_every_request_is_answered(answers: Iterator[tuple[str, dict[str, Any]]]) -> None:
    found = [(json.loads(body), answer) for body, answer in answers]
    assert len(found) >= 8
    for body, answer in found:
        if "queries" in body:
            assert [one["status"] for one in answer["answers"]] == [200] * len(body["queries"])
        elif "settings" in body:
            assert answer["settings"]["synonyms"]["tv"] == ["television"]
        else:
            assert answer["hits"], body
            assert len(answer["hits"]) <= body.get("k", 10)
    pages = [answer for body, answer in found if body.get("query") == "games for my TV" and body.get("k") == 1]
    assert len({hit["document_id"] for page in pages for hit in page["hits"]}) == 2


def test_its_numbers_are_those_of_the_program() -> None:
    from app.schemas.batch import MAX_QUERIES
    from retriever.examples import ALPHA, BETA, GAMMA, TERMS, TOKENS
    from retriever.inputs import MAX_EXAMPLES
    from retriever.query import MAX_DEPTH, MAX_TIMEOUT_MS

    text = " ".join(TEXT.split())  # wherever its lines end
    assert (ALPHA, BETA, GAMMA) == (1.0, 1.0, 0.5)
    for said in (
        f"the {TERMS} strongest",
        f"the {TOKENS} strongest",
        f"Up to {MAX_EXAMPLES} examples",
        f"the {MAX_DEPTH:,}th hit",
        f"from 1 to {MAX_TIMEOUT_MS:,} milliseconds",
        f"Up to {MAX_QUERIES} queries",
    ):
        assert said in text, said
