"""What each API is sent, byte for byte as its clients send it, and what is refused before anything is sent."""

from __future__ import annotations

import base64
import math
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from core.errors import InvalidControl, InvalidInput, RemoteMismatch, RemoteRefused
from core.prompts import (
    ControlOptions,
    ControlTarget,
    Crop,
    ImageControl,
    ImageItem,
    Prompt,
    TextControl,
    TextItem,
    TokenControl,
    TokenIdsItem,
    TokenOverlap,
)
from core.protocols import Priority
from core.records import Representation
from core.signing import SignableRequest, parse_authorization, verify
from embedder.remote.answers import sparse_weights, unit_vectors
from embedder.remote.openai import OpenAIWire
from embedder.remote.vikingdb import VikingDBWire
from tests.embedder.remote.conftest import KEYS, TOKEN, Make, config
from tests.embedder.remote.server import Remote, status
from tests.embedder.remote.world import FakeTime

STEERED = Prompt.of("hot tea", (TextControl(start=0, length=3, factor=2.5, token_overlap=TokenOverlap.COMPLETE),))
IMAGE = ImageItem(data=b"\x89PNG...", crop=Crop(x=1, y=2, size=30))
MIXED = Prompt(
    items=(
        STEERED.items[0],
        TokenIdsItem(ids=(5, 6), controls=(TokenControl(index=1, factor=0),)),
        replace(IMAGE, controls=(ImageControl(left=0, top=0.5, width=0.5, height=0.25, factor=3),)),
    )
)


def encode(make: Make, prompts: list[Prompt], representation: Representation, **settings: Any) -> None:
    options = settings.pop("options", ControlOptions())
    priority = settings.pop("priority", Priority.INTERACTIVE)
    make(**settings).encode(prompts, representation, options=options, priority=priority)


def test_aleph_alpha_one_prompt_with_everything(remote: Remote, make: Make) -> None:
    options = ControlOptions(contextual_threshold=0.65, log_additive=False)
    encode(make, [MIXED], Representation.QUERY, api="aleph_alpha", options=options, compress_to=128, dimension=8)
    (request,) = remote.asked
    assert request.path == "/semantic_embed"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.body == {
        "model": "m",
        "prompt": [
            {
                "type": "text",
                "data": "hot tea",
                "controls": [{"start": 0, "length": 3, "factor": 2.5, "token_overlap": "complete"}],
            },
            {"type": "token_ids", "data": [5, 6], "controls": [{"index": 1, "factor": 0}]},
            {
                "type": "image",
                "data": base64.b64encode(b"\x89PNG...").decode(),
                "x": 1,
                "y": 2,
                "size": 30,
                "controls": [
                    {
                        "rect": {"left": 0, "top": 0.5, "width": 0.5, "height": 0.25},
                        "factor": 3,
                        "token_overlap": "partial",
                    }
                ],
            },
        ],
        "representation": "query",
        "compress_to_size": 128,
        "normalize": True,
        "contextual_control_threshold": 0.65,
        "control_log_additive": False,
    }


@pytest.mark.parametrize(
    ("priority", "path"),
    [(Priority.INTERACTIVE, ""), (Priority.BULK, "?nice=true"), (Priority.NICE, "?nice=true")],
)
def test_aleph_alpha_several_prompts(remote: Remote, make: Make, priority: Priority, path: str) -> None:
    prompts = [Prompt.of("a"), Prompt.of("b")]
    encode(make, prompts, Representation.DOCUMENT, api="aleph_alpha", priority=priority)
    request = remote.asked[-1]
    assert request.path == "/batch_semantic_embed" + path
    assert request.texts[:2] == ["a", "b"]
    assert request.body["representation"] == "document"
    assert request.body["contextual_control_threshold"] is None
    assert request.body["control_log_additive"] is True


def test_aleph_alpha_leaves_the_target_to_the_remote(remote: Remote, make: Make) -> None:
    options = ControlOptions(target=ControlTarget.POOL)
    with pytest.raises(InvalidControl, match="only auto"):
        encode(make, [STEERED], Representation.QUERY, api="aleph_alpha", options=options)
    assert not remote.received
    encode(make, [Prompt.of("idle")], Representation.QUERY, api="aleph_alpha", options=options)


def test_aleph_alpha_is_not_sent_a_factor_that_its_api_does_not_know(remote: Remote, make: Make) -> None:
    away = Prompt.of("hot tea", (TextControl(start=0, length=3, factor=-1),))
    with pytest.raises(InvalidControl, match="no factor below 0"):
        encode(make, [away], Representation.QUERY, api="aleph_alpha")
    assert not remote.received


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_openai(remote: Remote, make: Make, path: str) -> None:
    prefixes = {Representation.QUERY: "query: ", Representation.DOCUMENT: "passage: "}
    prompts = [Prompt.of("hot tea"), Prompt(items=(TextItem(text="ice"), TextItem(text=" cream")))]
    encode(make, prompts, Representation.QUERY, url=remote.url + path, compress_to=8, prefixes=prefixes)
    (request,) = remote.asked
    assert request.path == "/v1/embeddings"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-type"] == "application/json"
    assert request.body == {
        "model": "m",
        "input": ["query: hot tea", "query: ice cream"],
        "encoding_format": "base64",
        "dimensions": 8,
    }


def test_openai_takes_lists_of_numbers_too() -> None:
    wire = OpenAIWire(config("http://h"))
    data = [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [3.0, 4.0]}]
    answer = wire.read({"data": data, "model": "m", "usage": {"prompt_tokens": 9}}, 2, sparse=False)
    np.testing.assert_allclose(answer.vectors, np.array([[0.6, 0.8], [0, 1]]))
    assert (answer.tokens, answer.version) == (9, "m")


def test_openai_sends_dimensions_only_where_wanted(remote: Remote, make: Make) -> None:
    encode(make, [Prompt.of("a")], Representation.QUERY, dimension=8, token="")
    assert "dimensions" not in remote.asked[0].body
    assert "authorization" not in remote.asked[0].headers


@pytest.mark.parametrize("sparse", [False, True])
def test_vikingdb(remote: Remote, make: Make, time: FakeTime, sparse: bool) -> None:
    encoder = make(api="vikingdb", sparse=sparse, url=remote.url + "/base/")
    prompts = [
        Prompt.of("热茶"),
        Prompt(items=(ImageItem(data=b"i"),)),
        Prompt(items=(TextItem(text="tea"), ImageItem(data=b"i"))),
    ]
    if sparse:
        encoder.encode_hybrid(prompts, Representation.QUERY)  # type: ignore[attr-defined]
    else:
        encoder.encode(prompts, Representation.QUERY)
    (request,) = remote.asked
    assert request.path == "/base/api/data/embedding/version/2"
    image = base64.b64encode(b"i").decode()
    assert request.body == {
        "model": {
            "model_name": "m",
            "params": {"return_dense": True, "return_sparse": sparse, "return_token_usage": True},
        },
        "data": [
            {"data_type": "text", "text": "热茶"},
            {"data_type": "image", "image": image},
            {"data_type": "text-image", "text": "tea", "image": image},
        ],
    }
    authorization = parse_authorization(request.headers["authorization"])
    assert str(authorization.scope) == "20260105/cn-north-1/air/request"
    assert authorization.scope.access_key == KEYS["access_key"]
    signed = SignableRequest(method="POST", path=request.path, headers=request.headers, body=request.raw)
    verify(signed, authorization, KEYS["secret_key"], now=time.now())


def test_vikingdb_signs_each_try_anew(remote: Remote, make: Make, time: FakeTime) -> None:
    encoder = make(api="vikingdb")
    remote.faults.append(status(429, Retry_After="30"))
    encoder.encode([Prompt.of("a")], Representation.QUERY)
    assert [request.headers["x-date"] for request in remote.asked] == ["20260105T120000Z", "20260105T120030Z"]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://h", "h"),
        ("https://h:443", "h"),
        ("http://h:80", "h"),
        ("http://h:8000", "h:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
    ],
)
def test_vikingdbs_host_is_as_it_is_signed(url: str, host: str, time: FakeTime) -> None:
    wire = VikingDBWire(config(url, api="vikingdb"))
    request = wire.request([Prompt.of("a")], Representation.QUERY, ControlOptions(), nice=False, sparse=False)
    headers = {name.lower(): value for name, value in wire.headers(request, time.now()).items()}
    assert headers["host"] == host
    received = SignableRequest(
        method="POST",
        path=urlsplit(request.url).path,
        headers={**headers, "content-type": "application/json"},
        body=request.body,
    )
    verify(received, parse_authorization(headers["authorization"]), KEYS["secret_key"], now=time.now())


def test_vikingdbs_vectors_at_the_top_level_are_read_too() -> None:
    wire = VikingDBWire(config("http://h", api="vikingdb", sparse=True))
    dense, sparse = [[3.0, 4.0]], [{"De": 0.5, "of": 0, "fin": 1}]
    answer = wire.read(
        {"code": 0, "sentence_dense_embedding": dense, "sentence_sparse_embedding": sparse}, 1, sparse=True
    )
    np.testing.assert_allclose(answer.vectors, [[0.6, 0.8]])
    assert answer.sparse == ({"De": 0.5, "fin": 1.0},)


def test_vikingdbs_error_code_in_a_good_answer_is_an_error(remote: Remote, make: Make) -> None:
    remote.change = lambda answer: {"code": 1000025, "message": "failed to calcTextEmbedding", "request_id": "r"}
    with pytest.raises(RemoteRefused, match="code 1000025"):
        encode(make, [Prompt.of("a")], Representation.QUERY, api="vikingdb")


@pytest.mark.parametrize("api", ["openai", "vikingdb"])
@pytest.mark.parametrize(
    ("prompt", "error", "said"),
    [
        (STEERED, InvalidControl, "takes no attention controls"),
        (Prompt(items=(TokenIdsItem(ids=(1,)),)), InvalidInput, "send text"),
        (Prompt(items=(TextItem(text="a"), TokenIdsItem(ids=(1,)))), InvalidInput, "send text"),
        (Prompt.of(""), InvalidInput, "empty text"),
        (Prompt(items=(IMAGE,)), InvalidInput, "send text|one whole image"),
        (Prompt(items=(ImageItem(data=b"a"), ImageItem(data=b"b"))), InvalidInput, "send text|one whole image"),
        (Prompt.of("\ud800"), InvalidInput, "half a character"),
    ],
    ids=["controls", "token ids", "text and token ids", "empty", "cropped image", "two images", "surrogate"],
)
def test_what_an_api_cannot_take_is_not_sent(
    remote: Remote, make: Make, api: str, prompt: Prompt, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        encode(make, [Prompt.of("fine"), prompt], Representation.QUERY, api=api)
    assert not remote.asked


def test_controls_that_change_nothing_pass(make: Make) -> None:
    idle = Prompt.of("hot tea", (TextControl(start=0, length=3, factor=1),))
    encode(make, [idle], Representation.QUERY, api="openai")


@pytest.mark.parametrize(
    "weight", [-0.1, float("nan"), float("inf"), "1", None, True, 1e300, 3.5e38, pytest.param(10**400, id="10**400")]
)
def test_sparse_weights_that_cannot_be(weight: object) -> None:
    with pytest.raises(RemoteMismatch, match=r"finite number from 0 to 3\.4e\+38"):
        sparse_weights({"a": 1.0, "b": weight}, 3)


def test_sparse_weights_are_kept_as_float32_has_them() -> None:
    largest = float(np.finfo(np.float32).max)
    assert sparse_weights({"a": 1e-46, "b": 0, "c": largest, "d": 2}, 0) == {"c": largest, "d": 2.0}


def test_vectors_of_any_size_come_to_unit_length() -> None:
    tiny, huge = [3e-300, 4e-300], [3e300, -4e300]
    np.testing.assert_allclose(unit_vectors([tiny, huge]), [[0.6, 0.8], [0.6, -0.8]], rtol=1e-6)


@pytest.mark.parametrize(
    "rows", [[[1.0], [1.0, 2.0]], [1.0], [[[1.0]]], [[]], [[True]], [["1"]], [[{}]], [[10**400]], [[1.0, 10**400]]]
)
def test_rows_that_are_no_vectors(rows: list[Any]) -> None:
    with pytest.raises(RemoteMismatch):
        unit_vectors(rows)


@pytest.mark.parametrize("bad", [None, [None, None], [], [1.0], [1.0, 2.0, 3.0], "text", [math.nan, 1.0], [0.0, 0.0]])
def test_the_row_that_alone_is_no_vector_is_told(bad: object) -> None:
    sound = [[1.0, 2.0], [2.0, 1.0], [3.0, 4.0]]
    for place in range(4):
        with pytest.raises(RemoteMismatch) as caught:
            unit_vectors([*sound[:place], bad, *sound[place:]])
        assert caught.value.index == place
    with pytest.raises(RemoteMismatch) as caught:
        unit_vectors([[1.0, 2.0, 3.0], [1.0, 2.0]])
    assert caught.value.index == 0, "the last is the probe's"


def test_no_row_is_told_where_none_is_a_vector() -> None:
    with pytest.raises(RemoteMismatch) as caught:
        unit_vectors([None, "text"])
    assert caught.value.index is None
