"""Answers that are not of the documented form end in an error of the client's own. The network is played."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from salience.client import errors
from salience.client._calls import Answer, reading
from salience.client.search_results import Line
from tests.salience.client.conftest import Face, Network, refusal

ONE_ANSWER = {"status": 404, "error": {"code": "collection_not_found", "message": "there is none"}}


@pytest.mark.parametrize(
    ("method", "arguments", "answer"),
    [
        ("list_collections", (), {"content": b"[" * 200_000}),
        ("search_many", ("c", ["a", "b"]), {"json": {"answers": [ONE_ANSWER]}}),
        ("search_many", ("c", ["a", "b"]), {"json": {"answers": [ONE_ANSWER] * 3}}),
        ("delete_document", ("c", "a"), {"status_code": 204}),
        ("delete_document", ("c", "a"), {"status_code": 204, "headers": {"Salience-Seq": "soon"}}),
        ("delete_document", ("c", "a"), {"status_code": 204, "headers": {"Salience-Seq": "9" * 5000}}),
        ("embed", (["a", "b"],), [0]),
        ("embed", (["a", "b"],), [0, 0]),
        ("embed", (["a", "b"],), [1, 2]),
        ("rerank", ("q", ["a", "b"]), [2]),
        ("rerank", ("q", ["a", "b"]), [-1]),
        ("rerank", ("q", ["a", "b"]), [1, 1]),
        (
            "rerank",
            ("q", ["a"]),
            {"json": {"results": [{"index": 0, "relevance_score": 10**400}], "usage": {"total_tokens": 1}}},
        ),
    ],
)
def test_an_answer_that_cannot_be_is_never_guessed_at(
    over: Callable[..., Face], method: str, arguments: tuple[Any, ...], answer: dict[str, Any] | list[int]
) -> None:
    if isinstance(answer, list):
        made = {"data": [{"index": i, "embedding": "AAAAAA=="} for i in answer], "model": "m"}
        judged = {"results": [{"index": i, "relevance_score": 0.5} for i in answer]}
        answer = {"json": {**made, **judged, "usage": {"total_tokens": 1}}}
    network = Network(httpx.Response(**{"status_code": 200, **answer}))
    with pytest.raises(errors.UnexpectedAnswer):
        getattr(over(network), method)(*arguments)


def test_an_answer_may_be_nested_too_deep_for_its_classes() -> None:
    line = '{"value": 1, "kind": "leg", "description": "", "details": ['
    content = (line * 400 + "]}" * 400).encode()
    with pytest.raises(errors.UnexpectedAnswer, match="not of the documented form"):
        reading(Line)(Answer(status=200, headers={}, content=content))


@pytest.mark.parametrize("documents", [{"text": "a"}, ["a"], "a", [3], [None]])
def test_documents_are_mappings(over: Callable[..., Face], documents: Any) -> None:
    network = Network(httpx.Response(200, json={}))
    for method in ("add_documents", "add_bulk"):
        with pytest.raises(ValueError, match=r"document 1 is of type (str|int|NoneType); documents are mappings"):
            getattr(over(network), method)("c", documents)
    assert not network.requests


def test_a_refusal_that_cannot_be_read_is_one_of_its_status(over: Callable[..., Face], waits: list[float]) -> None:
    with pytest.raises(errors.NotFound, match="does not come from Salience"):
        over(Network(httpx.Response(404, content=b"[" * 200_000))).list_collections()
    absurd = "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"
    with pytest.raises(errors.Unavailable) as refused:
        over(Network(refusal(503, "storage_busy", absurd))).list_collections()
    assert refused.value.retry_after is None
