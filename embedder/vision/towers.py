"""The two networks of a CLIP or SigLIP model, run by transformers, with factors on their attention.

Factors act on words and on patches as attention keys, in every layer of their tower. CLIP takes an image's vector from
its class token, which attends in the same layers. SigLIP has a pooling head of its own, an attention with one learned
query: it bypasses transformers' attention interface, so with factors it is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear, normalize
from transformers import PreTrainedModel

from core.records import Float32Array, Int64Array
from embedder.backbone import TOLERANCE
from embedder.generic import IMPLEMENTATION, BatchFactors, steered
from embedder.steeredattention import attend


class Towers:
    """Maps token ids and pixels to unit vectors of one space. Thread-safe.

    Each tower is switched to the steerable attention only if tests at loading show that this is harmless (without
    factors the output equals the stock one) and effective (suppressed tokens or patches do not affect the vector).
    Otherwise it keeps its stock attention, and `text_problem` or `image_problem` says why.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        padded_to: int | None,
        padding_id: int,
        probe: tuple[Int64Array, Int64Array],
    ) -> None:
        """`model`: a CLIPModel or a SiglipModel.

        `padded_to`: the length to which texts are padded with `padding_id`, visibly to the model (SigLIP); None: the
        padding is masked. `probe`: two texts of the same length that differ in words, not in special tokens.
        """
        network: Any = model
        self._model = network
        self._head = getattr(network.vision_model, "head", None)
        self.has_class_token = self._head is None
        self._padded_to = padded_to
        self._padding_id = padding_id
        vision = network.config.vision_config
        self.image_size = int(vision.image_size)  # side in pixels
        self.patch_size = int(vision.patch_size)
        self.patches = (self.image_size // self.patch_size) ** 2
        self.text_problem = self._text_problem(*probe)
        self.image_problem = self._image_problem()

    @property
    def device(self) -> torch.device:
        device: torch.device = self._model.device
        return device

    def tokens_read(self, count: int) -> int:
        """The number of tokens that the tower reads for a text of `count` tokens, visible padding included."""
        return self._padded_to or count

    def texts(self, ids: Sequence[Int64Array], factors: BatchFactors | None = None) -> Tensor:
        """(texts, dimension) float32 unit vectors. `factors.values`: (texts, longest text), 1 for unsteered tokens."""
        length = self._padded_to or max(len(text) for text in ids)
        tokens = torch.full((len(ids), length), self._padding_id, dtype=torch.long)
        mask = torch.zeros((len(ids), length), dtype=torch.long)
        for row, text in enumerate(ids):
            tokens[row, : len(text)] = torch.from_numpy(text)
            mask[row, : len(text)] = 1
        seen = None if self._padded_to else mask.to(self.device)
        with torch.inference_mode(), steered(_placed(factors, start=0, length=length)):
            found = self._model.get_text_features(input_ids=tokens.to(self.device), attention_mask=seen)
            return normalize(found.pooler_output.float(), dim=1)

    def images(self, pixels: Tensor, factors: BatchFactors | None = None) -> Tensor:
        """(images, dimension) float32 unit vectors.

        `pixels`: (images, 3, size, size) float32; `factors.values`: (images, patches).
        """
        start = 1 if self.has_class_token else 0
        with torch.inference_mode(), steered(_placed(factors, start=start, length=start + self.patches)):
            found = self._model.get_image_features(pixel_values=pixels.to(self.device))
            if factors is None or self._head is None:
                return normalize(found.pooler_output.float(), dim=1)
            return normalize(_attention_pooled(self._head, found.last_hidden_state, factors).float(), dim=1)

    def word_vectors(self, ids: Int64Array) -> Float32Array:
        """(tokens, width) float32: the static input embeddings of the tokens, before any layer."""
        with torch.inference_mode():
            words: Tensor = self._model.text_model.embeddings.token_embedding(torch.from_numpy(ids).to(self.device))
        found: Float32Array = words.float().cpu().numpy()
        return found

    def _text_problem(self, text: Int64Array, other: Int64Array) -> str:
        alike = torch.from_numpy((text == other).astype(np.float32)).to(self.device)
        factors = BatchFactors(values=alike.expand(2, -1), log_additive=True)
        return _make_steerable(
            self._model.text_model,
            idle=lambda: self.texts([text]),
            suppressed=lambda: self.texts([text, other], factors),
        )

    def _image_problem(self) -> str:
        images = torch.randn((2, 3, self.image_size, self.image_size), generator=torch.Generator().manual_seed(1))
        side = self.image_size // self.patch_size
        images[1, :, : side // 2 * self.patch_size] = images[0, :, : side // 2 * self.patch_size]
        alike = torch.zeros((2, side, side), device=self.device)
        alike[:, : side // 2] = 1.0
        factors = BatchFactors(values=alike.flatten(1), log_additive=True)
        return _make_steerable(
            self._model.vision_model,
            idle=lambda: self.images(images[:1]),
            suppressed=lambda: self.images(images, factors),
        )


def _make_steerable(tower: Any, *, idle: Callable[[], Tensor], suppressed: Callable[[], Tensor]) -> str:
    """Switches the tower to the steerable attention; if that fails, switches it back and returns the reason.

    `idle` returns vectors without factors; `suppressed` those of two inputs that differ only where they are suppressed.
    """
    stock = tower.config._attn_implementation
    expected = idle()
    try:
        tower.set_attn_implementation(IMPLEMENTATION)
        problem = ""
        if not torch.allclose(idle(), expected, atol=TOLERANCE):
            problem = "its attention changes its output when it is replaced"
        elif _differ(suppressed()):
            problem = "what is suppressed still acts on the vector"
    except (ValueError, KeyError, TypeError, NotImplementedError) as error:
        problem = f"its attention cannot be replaced ({error})"
    if problem:
        tower.set_attn_implementation(stock)
    return problem


def _differ(pair: Tensor) -> bool:
    return not torch.allclose(pair[0], pair[1], atol=TOLERANCE)


def _placed(factors: BatchFactors | None, *, start: int, length: int) -> BatchFactors | None:
    """The factors extended to all `length` keys: given from `start` on, 1 for the others."""
    if factors is None:
        return None
    rows, width = factors.values.shape
    values = torch.ones((rows, length), device=factors.values.device)
    values[:, start : start + width] = factors.values
    return BatchFactors(values=values, log_additive=factors.log_additive)


def _attention_pooled(head: Any, hidden: Tensor, factors: BatchFactors) -> Tensor:
    """(images, width): SigLIP's pooling head applied to `hidden` (images, patches, width), with factors on its keys.

    In the head a learned query attends to all patches; a residual feed-forward layer follows.
    """
    attention = head.attention
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    sources = (head.probe.expand(len(hidden), -1, -1), hidden, hidden)
    query, key, value = (
        linear(source, weight, bias).view(len(hidden), -1, attention.num_heads, attention.head_dim).transpose(1, 2)
        for source, weight, bias in zip(sources, weights, biases, strict=True)
    )  # each (images, heads, 1 | patches, head_dim)
    found = attend(query, key, value, factors.values, log_additive=factors.log_additive)
    pooled = attention.out_proj(found.transpose(1, 2).flatten(2))[:, 0]
    vectors: Tensor = pooled + head.mlp(head.layernorm(pooled))
    return vectors
