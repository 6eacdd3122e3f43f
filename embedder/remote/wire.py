"""What differs from API to API: how a request is put, and how an answer is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.errors import InvalidControl, InvalidInput
from core.prompts import ControlOptions, Prompt, PromptItem, TextItem
from core.records import Representation
from embedder.remote.answers import Answer


@dataclass(frozen=True, kw_only=True, slots=True)
class WireRequest:
    """A POST of JSON."""

    url: str  # with the query
    body: bytes
    texts: tuple[str, ...]  # what it sends of its caller's: never shown in an error


class Wire(Protocol):
    """One API. Without state: used by several threads at once."""

    max_body_bytes: int
    counts_overhead: bool  # whether the tokens that it tells include special ones and prefixes

    def check(self, prompt: Prompt, options: ControlOptions) -> None:
        """Raises InvalidInput or InvalidControl for what the API cannot take, before anything is sent."""
        ...

    def request(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        options: ControlOptions,
        *,
        nice: bool,
        sparse: bool,
    ) -> WireRequest:
        """The request for a batch. `nice`: others may be served first. `sparse`: sparse vectors are wanted too."""
        ...

    def headers(self, request: WireRequest, now: datetime) -> Mapping[str, str]:
        """What authorizes the request at this moment."""
        ...

    def read(self, answer: object, count: int, *, sparse: bool) -> Answer:
        """The answer's JSON, checked. Raises RemoteMismatch, RemoteRefused."""
        ...


def json_request(url: str, body: Mapping[str, object], prompts: Sequence[Prompt]) -> WireRequest:
    """A request with this body. Raises InvalidInput for a text that is no Unicode (a lone surrogate)."""
    try:
        encoded = json.dumps(body, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInput(f"a text holds {error.object[error.start]!r}, half a character", param="prompt") from None
    texts = tuple(item.text for prompt in prompts for item in prompt.items if isinstance(item, TextItem))
    return WireRequest(url=url, body=encoded, texts=texts)


def refuse_controls(prompt: Prompt, model: str, api: str) -> None:
    """Raises InvalidControl for a steered prompt."""
    if prompt.steered:
        raise InvalidControl(
            f"model {model} takes no attention controls: it is reached through {api}, which has none. "
            "Use a local model or one behind an Aleph Alpha API",
            param="controls",
        )


def text_of(items: Sequence[PromptItem], prefix: str, model: str) -> str:
    """Prefix and texts of the items as one text. Raises InvalidInput for an empty one, and for other kinds of item."""
    texts = [item.text for item in items if isinstance(item, TextItem)]
    if len(texts) < len(items):
        raise InvalidInput(
            f"model {model} is reached through an API that takes no such items: send text", param="prompt"
        )
    text = prefix + "".join(texts)
    if not text:
        raise InvalidInput(f"an empty text cannot be embedded by model {model}", param="prompt")
    return text
