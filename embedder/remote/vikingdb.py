"""The VikingDB embedding API, version 2: signed requests, dense and sparse vectors in one answer.

The documentation's example has the vectors at the top level of the answer, but its table and the SDK have them under
`data`: both forms are accepted.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import urlsplit

from core.errors import InvalidInput, RemoteRefused
from core.prompts import ControlOptions, ImageItem, Prompt
from core.records import Representation
from core.signing import SignableRequest, signed_headers
from embedder.remote.answers import Answer, members, sparse_weights, token_total, unit_vectors
from embedder.remote.config import RemoteConfig
from embedder.remote.wire import WireRequest, json_request, refuse_controls, text_of

PATH = "/api/data/embedding/version/2"
CONTENT_TYPE = "application/json"
REGION, SERVICE = "cn-north-1", "air"  # the scope of the signature


class VikingDBWire:
    """Fulfils wire.Wire. A prompt has texts, one whole image, or both."""

    max_body_bytes = 4 << 20
    counts_overhead = True

    def __init__(self, config: RemoteConfig) -> None:
        self._config = config
        self._url = config.url.rstrip("/") + PATH

    def check(self, prompt: Prompt, options: ControlOptions) -> None:
        refuse_controls(prompt, self._config.model, "VikingDB's API")
        self._item_json(prompt, "")

    def request(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        options: ControlOptions,
        *,
        nice: bool,
        sparse: bool,
    ) -> WireRequest:
        prefix = self._config.prefix(representation)
        params = {"return_dense": True, "return_sparse": sparse, "return_token_usage": True}
        body = {
            "model": {"model_name": self._config.model, "params": params},
            "data": [self._item_json(prompt, prefix) for prompt in prompts],
        }
        return json_request(self._url, body, prompts)

    def headers(self, request: WireRequest, now: datetime) -> Mapping[str, str]:
        parts = urlsplit(request.url)
        host = _host(parts.hostname or "", parts.port)
        signable = SignableRequest(
            method="POST",
            path=parts.path,
            headers={"host": host, "content-type": CONTENT_TYPE},
            body=request.body,
        )
        signature = signed_headers(
            signable,
            access_key=self._config.access_key,
            secret_key=self._config.secret_key,
            region=REGION,
            service=SERVICE,
            now=now,
        )
        return {"Host": host, **signature}

    def read(self, answer: object, count: int, *, sparse: bool) -> Answer:
        if isinstance(answer, Mapping) and answer.get("code", 0) != 0:  # an error with the status 200
            raise RemoteRefused(f"the answer has the error code {answer['code']!r:.40}")
        data = answer["data"] if isinstance(answer, Mapping) and isinstance(answer.get("data"), Mapping) else answer
        vectors = unit_vectors(members(data, "sentence_dense_embedding", count))
        weights = members(data, "sentence_sparse_embedding", count) if sparse else ()
        usage = data.get("token_usage") if isinstance(data, Mapping) else None
        return Answer(
            vectors=vectors,
            sparse=tuple(sparse_weights(entry, place) for place, entry in enumerate(weights)),
            tokens=token_total(usage, "total_tokens"),
            version="",
        )

    def _item_json(self, prompt: Prompt, prefix: str) -> dict[str, str]:
        images = [item for item in prompt.items if isinstance(item, ImageItem)]
        others = [item for item in prompt.items if not isinstance(item, ImageItem)]
        if not images:
            return {"data_type": "text", "text": text_of(others, prefix, self._config.model)}
        if len(images) > 1 or images[0].crop is not None:
            raise InvalidInput(
                f"model {self._config.model} is reached through VikingDB's API, which takes one whole image a prompt",
                param="prompt",
            )
        image = base64.b64encode(images[0].data).decode()
        if not others:
            return {"data_type": "image", "image": image}
        return {"data_type": "text-image", "text": text_of(others, prefix, self._config.model), "image": image}


def _host(name: str, port: int | None) -> str:
    """The Host header to sign: without the ports 80 and 443."""
    bracketed = f"[{name}]" if ":" in name else name
    return bracketed if port in (None, 80, 443) else f"{bracketed}:{port}"
