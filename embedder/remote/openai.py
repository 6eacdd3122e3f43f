"""The OpenAI API: /v1/embeddings. It takes text only; representations differ by the configured prefixes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np

from core.errors import RemoteMismatch
from core.prompts import ControlOptions, Prompt
from core.records import Representation
from embedder.remote.answers import Answer, member, members, token_total, unit_vectors
from embedder.remote.config import RemoteConfig
from embedder.remote.wire import WireRequest, json_request, refuse_controls, text_of


class OpenAIWire:
    """Fulfils wire.Wire. Asks for base64, a quarter of the size of decimal numbers, but accepts both."""

    max_body_bytes = 32 << 20
    counts_overhead = True

    def __init__(self, config: RemoteConfig) -> None:
        self._config = config
        base = config.url.rstrip("/").removesuffix("/v1")  # many write the address with the version
        self._url = f"{base}/v1/embeddings"

    def check(self, prompt: Prompt, options: ControlOptions) -> None:
        refuse_controls(prompt, self._config.model, "OpenAI's API")
        text_of(prompt.items, "", self._config.model)

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
        body: dict[str, object] = {
            "model": self._config.model,
            "input": [text_of(prompt.items, prefix, self._config.model) for prompt in prompts],
            "encoding_format": "base64",
        }
        if self._config.compress_to is not None:
            body["dimensions"] = self._config.compress_to
        return json_request(self._url, body, prompts)

    def headers(self, request: WireRequest, now: datetime) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._config.token}"} if self._config.token else {}

    def read(self, answer: object, count: int, *, sparse: bool) -> Answer:
        entries = members(answer, "data", count)
        rows = {_place(entry): member(entry, "embedding") for entry in entries}
        if sorted(rows) != list(range(count)):
            raise RemoteMismatch(f"the indices of the answer's vectors are not 0 to {count - 1}, each once")
        usage = answer.get("usage") if isinstance(answer, Mapping) else None
        version = answer.get("model") if isinstance(answer, Mapping) else None
        return Answer(
            vectors=unit_vectors([_decoded(rows[place]) for place in range(count)]),
            sparse=(),
            tokens=token_total(usage, "prompt_tokens"),
            version=version if isinstance(version, str) else "",
            truncated=_truncated(answer),
        )


def _truncated(answer: object) -> frozenset[int]:
    """The truncated inputs, in a field of Salience's own; other services refuse inputs that are too long."""
    cut = answer.get("truncated_inputs") if isinstance(answer, Mapping) else None
    return frozenset(place for place in cut if isinstance(place, int)) if isinstance(cut, list) else frozenset()


def _place(entry: object) -> int:
    """The index of the input that an entry belongs to, as entries may come in any order; -1 if it is no number."""
    index = member(entry, "index")
    return index if isinstance(index, int) else -1


def _decoded(vector: object) -> object:
    """A vector's numbers: an array decoded from base64 of little-endian float32; a list is returned unchanged."""
    if not isinstance(vector, str):
        return vector
    try:
        return np.frombuffer(base64.b64decode(vector, validate=True), dtype="<f4")
    except (binascii.Error, ValueError):
        raise RemoteMismatch("a vector of the answer is not base64 of 32-bit floats") from None
