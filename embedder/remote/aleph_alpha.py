"""The Aleph Alpha API: /semantic_embed and /batch_semantic_embed. Controls and representations are passed on."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from core.errors import InvalidControl
from core.prompts import ControlOptions, ControlTarget, ImageItem, Prompt, PromptItem, TextItem, TokenIdsItem
from core.records import Representation
from embedder.remote.answers import Answer, member, members, token_total, unit_vectors
from embedder.remote.config import RemoteConfig
from embedder.remote.wire import WireRequest, json_request

_CUT = "so cut: "  # a Salience server's message lists the truncated prompts after these words
_PLACE = re.compile(r"prompts\[(\d{1,9})\]", re.ASCII)  # int() refuses numbers of more than 4,300 digits


class AlephAlphaWire:
    """Fulfils wire.Wire. The remote decides whether a factor acts on the attention or on the pool."""

    max_body_bytes = 32 << 20
    counts_overhead = False

    def __init__(self, config: RemoteConfig) -> None:
        self._config = config

    def check(self, prompt: Prompt, options: ControlOptions) -> None:
        if prompt.steered and options.target is not ControlTarget.AUTO:
            raise InvalidControl(
                f"control target {options.target.value}: the API that model {self._config.model} is reached through "
                "leaves this to the remote; only auto is allowed",
                param="control_target",
            )
        if prompt.pushes_away:
            raise InvalidControl(
                f"the API that model {self._config.model} is reached through knows no factor below 0: 0 leaves a word "
                "out",
                param="controls",
            )

    def request(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        options: ControlOptions,
        *,
        nice: bool,
        sparse: bool,
    ) -> WireRequest:
        items = [[_item_json(item) for item in prompt.items] for prompt in prompts]
        steered = any(prompt.steered for prompt in prompts)
        body = {
            "model": self._config.model,
            **({"prompt": items[0]} if len(items) == 1 else {"prompts": items}),
            "representation": representation.value,
            "compress_to_size": self._config.compress_to,
            "normalize": True,
            "contextual_control_threshold": options.contextual_threshold if steered else None,
            "control_log_additive": options.log_additive if steered else True,
        }
        path = "/semantic_embed" if len(items) == 1 else "/batch_semantic_embed"
        query = "?nice=true" if nice else ""
        return json_request(self._config.url.rstrip("/") + path + query, body, prompts)

    def headers(self, request: WireRequest, now: datetime) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._config.token}"} if self._config.token else {}

    def read(self, answer: object, count: int, *, sparse: bool) -> Answer:
        single = count == 1 and isinstance(answer, Mapping) and "embedding" in answer
        rows = [member(answer, "embedding")] if single else members(answer, "embeddings", count)
        return Answer(
            vectors=unit_vectors(rows),
            sparse=(),
            tokens=token_total(answer, "num_tokens_prompt_total"),
            version=str(member(answer, "model_version")),
            truncated=_truncated(answer),
        )


def _truncated(answer: object) -> frozenset[int]:
    """The prompts that a Salience server lists in `message` as truncated: `prompt`, or `prompts[0], prompts[3]`."""
    message = answer.get("message") if isinstance(answer, Mapping) else None
    cut = message.partition(_CUT)[2] if isinstance(message, str) else ""
    return frozenset({0} if cut == "prompt" else map(int, _PLACE.findall(cut)))


def _item_json(item: PromptItem) -> dict[str, object]:
    match item:
        case TextItem():
            text_controls = [
                {"start": c.start, "length": c.length, "factor": c.factor, "token_overlap": c.token_overlap.value}
                for c in item.controls
            ]
            return {"type": "text", "data": item.text, "controls": text_controls}
        case TokenIdsItem():
            token_controls = [{"index": c.index, "factor": c.factor} for c in item.controls]
            return {"type": "token_ids", "data": list(item.ids), "controls": token_controls}
        case ImageItem():
            return _image_json(item)


def _image_json(item: ImageItem) -> dict[str, object]:
    controls = [
        {
            "rect": {"left": c.left, "top": c.top, "width": c.width, "height": c.height},
            "factor": c.factor,
            "token_overlap": c.token_overlap.value,
        }
        for c in item.controls
    ]
    crop = {} if item.crop is None else {"x": item.crop.x, "y": item.crop.y, "size": item.crop.size}
    return {"type": "image", "data": base64.b64encode(item.data).decode(), **crop, "controls": controls}
