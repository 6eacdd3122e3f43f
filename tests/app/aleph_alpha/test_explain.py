"""/explain against a plain loop of /semantic_embed, which suppresses one word after the other."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from core.records import Float64Array

TEXT = "The museum opens at nine. Lions and tigers sleep in the shade. Tickets are sold at the gate."
TARGET = "wild animals"
CALM = {"start": 11, "length": 5, "factor": 0.5}  # "opens": a control that the prompt has anyway


def embedded(api: TestClient, text: str, *controls: dict[str, Any], **options: Any) -> Float64Array:
    prompt = [{"type": "text", "data": text, "controls": list(controls)}]
    body = {"model": "luminous-base", "representation": "symmetric", "prompt": prompt, **options}
    response = api.post("/semantic_embed", json=body)
    assert response.status_code == 200, response.text
    return np.array(response.json()["embedding"])


def explained(api: TestClient, **options: Any) -> dict[str, Any]:
    prompt = [{"type": "text", "data": TEXT, "controls": [CALM]}]
    body = {"model": "luminous-base", "prompt": prompt, "target": TARGET, **options}
    response = api.post("/explain", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"control_factor": 0.3, "control_log_additive": False},
        {"control_factor": 0, "contextual_control_threshold": 0.6, "control_token_overlap": "complete"},
    ],
)
def test_scores_are_those_of_a_plain_loop(api: TestClient, options: dict[str, Any]) -> None:
    found = explained(api, prompt_granularity={"type": "word"}, **options)
    scores = found["explanations"][0]["items"][0]["scores"]
    words = [match.span() for match in re.finditer(r"\S+", TEXT)]
    assert [(score["start"], score["start"] + score["length"]) for score in scores] == words

    overlap = options.get("control_token_overlap", "partial")
    ways = {name: options[name] for name in options if name in ("control_log_additive", "contextual_control_threshold")}
    target = embedded(api, TARGET, **ways)
    whole = embedded(api, TEXT, CALM, **ways) @ target
    for (start, end), score in zip(words, scores, strict=True):
        factor = options.get("control_factor", 0.1)
        control = {"start": start, "length": end - start, "factor": factor, "token_overlap": overlap}
        assert score["score"] == pytest.approx(whole - embedded(api, TEXT, CALM, control, **ways) @ target, abs=1e-4)


@pytest.mark.parametrize("granularity", ["token", "word", "sentence", None])
def test_the_planted_cause_comes_first(api: TestClient, granularity: str | None) -> None:
    found = explained(api, prompt_granularity=granularity and {"type": granularity})
    assert found["objective"] == "similarity"
    assert found["granularity"] == (granularity or "token")  # 19 tokens and 17 words: tokens are nearer to 30
    scores = found["explanations"][0]["items"][0]["scores"]
    first = max(scores, key=lambda score: score["score"])
    words = TEXT[first["start"] : first["start"] + first["length"]]
    assert words in ("Lions", "tigers", "Lions and tigers sleep in the shade.")
