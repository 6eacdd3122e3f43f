"""The interface of an embedding API: how requests are written and answers are read."""

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
    """A POST request with a JSON body."""

    url: str  # with the query
    body: bytes
    texts: tuple[str, ...]  # the caller's texts in it, which must not appear in errors


class Wire(Protocol):
    """One API. Stateless, as it is used by several threads at once."""

    max_body_bytes: int
    counts_overhead: bool  # whether its token counts include special tokens and prefixes

    def check(self, prompt: Prompt, options: ControlOptions) -> None:
        """Raises InvalidInput or InvalidControl for prompts that the API does not support, before anything is sent."""
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
        """The request for a batch. `nice`: the remote may serve others first. `sparse`: also ask for sparse vectors."""
        ...

    def headers(self, request: WireRequest, now: datetime) -> Mapping[str, str]:
        """The headers that authorize the request at the time `now`."""
        ...

    def read(self, answer: object, count: int, *, sparse: bool) -> Answer:
        """Checks and converts the JSON of the answer to `count` prompts. Raises RemoteMismatch or RemoteRefused."""
        ...


def json_request(url: str, body: Mapping[str, object], prompts: Sequence[Prompt]) -> WireRequest:
    """A request with this body. Raises InvalidInput for a text that is not valid Unicode (a lone surrogate)."""
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
    """The prefix and the items' texts as one text. Raises InvalidInput if it is empty, or for other kinds of items."""
    texts = [item.text for item in items if isinstance(item, TextItem)]
    if len(texts) < len(items):
        raise InvalidInput(
            f"model {model} is reached through an API that takes no such items: send text", param="prompt"
        )
    text = prefix + "".join(texts)
    if not text:
        raise InvalidInput(f"an empty text cannot be embedded by model {model}", param="prompt")
    return text
