"""The encoder of CLIP and SigLIP models, which embeds prompts of texts and images in one vector space."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from core.context import check_awaited, models_read
from core.errors import InvalidControl, InvalidInput
from core.prompts import ControlOptions, ControlTarget, Crop, ImageItem, Prompt, TextItem, TokenIdsItem
from core.protocols import Priority, Progress
from core.records import Embeddings, Float32Array, Float64Array, Int64Array, Representation, TokenTrace
from embedder.auto import ATTENTION_LIMIT
from embedder.batching import batch_tokens, token_budget_batches
from embedder.controlsupport import ControlSupport
from embedder.forward import DEFAULT_OPTIONS
from embedder.generic import BatchFactors
from embedder.modelqueue import ModelQueue
from embedder.promptfactors import prompt_factors
from embedder.scheduling import scheduler_of
from embedder.tokens import TextTokenizer, TokenizedPrompt
from embedder.vision.imagefile import View, check_image, read_picture
from embedder.vision.patches import patch_factors
from embedder.vision.processor import ImageSettings
from embedder.vision.towers import Towers

MAX_TOTAL_PIXELS = 1_000_000_000  # of all distinct images of one call: about twenty seconds of decoding
KEPT_IMAGES = 16  # decoded images cached during a call: an explanation uses the same ones over and over
DECODERS = 2  # images decoded at the same time: decoding one of the largest takes 400 MB
_Seen = Callable[[bytes, Crop | None], tuple[Float32Array, View]]
NO_POOL = "its vectors are read off the attention and are no mean that could be weighted"


class VisionEncoder:
    """Two towers with a common vector space. Fulfils core.protocols.Encoder; thread-safe.

    A model with two towers cannot read a text and an image together. A prompt's text and token-id items are joined to
    one text; this text and every image give a unit vector each, and the prompt's vector is their mean, scaled to unit
    length. So all count equally, in any order. A blank text next to an image does not count. Controls act within their
    own text or image only.
    """

    def __init__(
        self,
        *,
        name: str,
        towers: Towers,
        tokenizer: TextTokenizer,
        images: ImageSettings,
        prefixes: Mapping[Representation, str],
        dimension: int,
        matryoshka: tuple[int, ...],
        fingerprint: str,
    ) -> None:
        """`matryoshka`: dimensions to which the vectors may be cut. `prefixes` are put before texts."""
        self.name = name
        self.fingerprint = fingerprint
        self.space = fingerprint  # see embedder.projection.space
        self.matryoshka = matryoshka
        self.dimension = dimension
        self.max_tokens = tokenizer.max_tokens
        self.tokenizer = tokenizer
        self.image_tokens = towers.patches  # an image counts as so many tokens, and has so many steerable patches
        self.support = ControlSupport.of(towers.text_problem, NO_POOL)  # for texts
        self.image_support = ControlSupport.of(towers.image_problem, NO_POOL)
        self._towers = towers
        self._images = images
        self._prefixes = prefixes
        self._queue = ModelQueue(scheduler_of(towers.device))
        self.observe = self._queue.observe  # as in core.protocols.Observable
        self.waiting = self._queue.waiting
        self._decoding = threading.BoundedSemaphore(DECODERS)
        self._batch_tokens = batch_tokens(towers.device)

    def encode(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = DEFAULT_OPTIONS,
        priority: Priority = Priority.INTERACTIVE,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Vectors (prompts, dimension) float32 of unit length, in the order of `prompts`.

        Images are decoded batch by batch, so memory does not grow with their number; the headers of all are checked
        first. Raises InvalidInput for an image that cannot be used; InvalidControl if a control cannot act on this
        model, or suppresses everything that it reads of an image; Abandoned between two images or batches if nobody
        waits for the answer any more.
        """
        self._check_target(prompts, options.target)
        texts, images = self._texts(prompts, representation, options), _images(prompts)
        sums = np.zeros((len(prompts), self.dimension))
        counts, open_parts = np.zeros((2, len(prompts)), dtype=np.int64)
        truncated = np.zeros(len(prompts), dtype=np.bool_)
        for text in texts:
            open_parts[text.owner] += 1
            counts[text.owner] += len(text.tokens)
            truncated[text.owner] |= text.tokens.truncated
        for image in images:
            open_parts[image.owner] += 1
            counts[image.owner] += self.image_tokens
        for owners, vectors in self._vectors(texts, images, options, priority):
            np.add.at(sums, owners, vectors)
            np.subtract.at(open_parts, owners, 1)
            if progress is not None:
                progress(int((open_parts[np.unique(owners)] == 0).sum()))
        units = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        return Embeddings(vectors=units.astype(np.float32), token_counts=counts, truncated=truncated)

    def trace(
        self, prompts: Sequence[Prompt], representation: Representation, *, options: ControlOptions = DEFAULT_OPTIONS
    ) -> list[TokenTrace] | None:
        """None: neither tower's vector is a mean of token vectors."""
        return None

    def token_spans(self, text: str) -> Int64Array:
        return self.tokenizer.spans(text)

    def overhead(self, representation: Representation) -> int:
        return self.tokenizer.special_tokens + self.tokenizer.prefix_tokens(self._prefixes[representation])

    def _texts(
        self, prompts: Sequence[Prompt], representation: Representation, options: ControlOptions
    ) -> list[_TextPart]:
        """The tokenized texts of the prompts.

        They are tokenized one by one so that errors carry the prompt's index: prompts without text are skipped.
        """
        found = []
        for owner, prompt in enumerate(prompts):
            if items := _text_items(prompt):
                read = Prompt(items=items)
                with InvalidInput.indexed(owner):
                    [tokens] = self.tokenizer.tokenize([read], self._prefixes[representation])
                    if len(tokens) == 0:
                        raise InvalidInput("the model's tokenizer finds no token in the text")
                    factors = prompt_factors(read, tokens, options, self.tokenizer, self._towers.word_vectors)
                found.append(_TextPart(owner=owner, tokens=tokens, factors=factors))
        return found

    def _vectors(
        self, texts: Sequence[_TextPart], images: Sequence[_ImagePart], options: ControlOptions, priority: Priority
    ) -> Iterator[tuple[list[int], Float32Array]]:
        """Yields batch by batch the indices of the prompts that the parts belong to, and the parts' unit vectors."""
        read_tokens = [self._towers.tokens_read(len(text.tokens)) for text in texts]

        def room() -> int:
            return self._queue.room(self._batch_tokens, priority)

        for batch in token_budget_batches(read_tokens, room):
            members = [texts[i] for i in batch]
            factors = _batch_factors([m.factors for m in members], max(len(m.tokens) for m in members), options)
            tokens = sum(len(member.tokens) for member in members)
            with self._queue.turn(priority, texts=len(members), tokens=tokens):
                found = self._towers.texts([member.tokens.ids for member in members], self._on_device(factors))
            models_read(tokens)
            yield [member.owner for member in members], found.cpu().numpy()
        seen = lru_cache(KEPT_IMAGES)(self._seen)
        for batch in token_budget_batches([self.image_tokens] * len(images), room):
            read = [self._read(images[i], seen) for i in batch]
            factors = _batch_factors([steering for _, steering in read], self.image_tokens, options)
            pixels = torch.from_numpy(np.stack([pixels for pixels, _ in read]))
            tokens = self.image_tokens * len(batch)
            with self._queue.turn(priority, texts=len(batch), tokens=tokens):
                found = self._towers.images(pixels, self._on_device(factors))
            models_read(tokens)
            yield [images[i].owner for i in batch], found.cpu().numpy()

    def _seen(self, data: bytes, crop: Crop | None) -> tuple[Float32Array, View]:
        """(3, size, size) float32 pixels, and the square of the image that they show."""
        with self._decoding:
            check_awaited()
            picture = read_picture(data, crop)
            return self._images.pixels(picture), picture.view

    def _read(self, image: _ImagePart, seen: _Seen) -> tuple[Float32Array, Float64Array | None]:
        """(3, size, size) float32 pixels, and the factor of each patch (None: nothing is steered)."""
        item = image.item
        with InvalidInput.indexed(image.owner):
            pixels, view = seen(item.data, item.crop)
            factors = patch_factors(item.controls, view, self._images, self._towers.patch_size)
            if (factors == 1).all():
                return pixels, None
            if not factors.any() and not self._towers.has_class_token:  # then nothing is left to attend to
                raise InvalidControl("the controls suppress all that the model sees of the image", param="controls")
            return pixels, factors

    def _on_device(self, factors: BatchFactors | None) -> BatchFactors | None:
        if factors is None:
            return None
        return BatchFactors(values=factors.values.to(self._towers.device), log_additive=factors.log_additive)

    def _check_target(self, prompts: Sequence[Prompt], target: ControlTarget) -> None:
        """Raises InvalidControl if a prompt is steered in a way that its tower does not support."""
        for item in (item for prompt in prompts for item in prompt.items):
            if all(control.factor == 1 for control in item.controls):
                continue
            is_image = isinstance(item, ImageItem)
            support = self.image_support if is_image else self.support
            support.check(target, self.name, " for images" if is_image else " for texts")


@dataclass(frozen=True, kw_only=True, slots=True)
class _TextPart:
    owner: int  # index of its prompt
    tokens: TokenizedPrompt
    factors: Float64Array | None  # (tokens,), None: nothing is steered


@dataclass(frozen=True, kw_only=True, slots=True)
class _ImagePart:
    owner: int
    item: ImageItem


def _text_items(prompt: Prompt) -> tuple[TextItem | TokenIdsItem, ...]:
    """The items of the prompt's text; none if they are all blank and the prompt also has an image."""
    items = tuple(item for item in prompt.items if not isinstance(item, ImageItem))
    says_something = any(item.text.strip() if isinstance(item, TextItem) else item.ids for item in items)
    return items if says_something or len(items) == len(prompt.items) else ()


def _images(prompts: Sequence[Prompt]) -> list[_ImagePart]:
    """All images of the prompts, with their headers checked.

    Raises InvalidInput, also if the distinct images have more than MAX_TOTAL_PIXELS together.
    """
    parts = [
        _ImagePart(owner=owner, item=item)
        for owner, prompt in enumerate(prompts)
        for item in prompt.items
        if isinstance(item, ImageItem)
    ]
    owners: dict[bytes, int] = {}  # the first prompt with each distinct image
    for part in parts:
        owners.setdefault(part.item.data, part.owner)
    pixels = 0
    for data, owner in owners.items():
        with InvalidInput.indexed(owner):
            pixels += check_image(data)
    if pixels > MAX_TOTAL_PIXELS:
        raise InvalidInput(
            f"the images have {pixels // 1_000_000} million pixels together: at most "
            f"{MAX_TOTAL_PIXELS // 1_000_000} million are allowed at once",
            param="data",
        )
    return parts


def _batch_factors(factors: Sequence[Float64Array | None], length: int, options: ControlOptions) -> BatchFactors | None:
    """The factors of a batch, (members, length), padded with 1; None if nothing is steered."""
    if all(own is None for own in factors):
        return None
    values = np.ones((len(factors), length), dtype=np.float32)
    for row, own in zip(values, factors, strict=True):
        if own is not None:
            row[: len(own)] = own
    if options.target is ControlTarget.AUTO:
        values = values.clip(max=ATTENTION_LIMIT)
    return BatchFactors(values=torch.from_numpy(values), log_additive=options.log_additive)
