"""Texts and images in one space: transformers and sentence-transformers as the oracles, batches, and refusals."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch.nn.functional import normalize
from transformers import AutoModel, AutoProcessor

from core.context import Awaited, awaited
from core.errors import Abandoned, InvalidInput
from core.prompts import ControlOptions, ControlTarget, Crop, ImageItem, Prompt, TextControl, TextItem, TokenIdsItem
from core.protocols import Priority, RanBatch
from core.records import Representation
from embedder.vision.encoder import VisionEncoder
from embedder.vision.imagefile import Picture, read_picture
from tests.embedder.vision.seeing import ATTENTION, IMAGES, QUERY, TEXTS, load, picture, rectangle, vector
from tests.embedder.vision.tinyvision import encoded, noise, save_tiny_sentence_transformer


def test_vectors_equal_those_of_transformers(folder: Path, encoder: VisionEncoder) -> None:
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    padding = "max_length" if folder.name == "siglip" else True
    with torch.no_grad():
        images = model.get_image_features(**processor(images=IMAGES, return_tensors="pt")).pooler_output
        texts = processor(text=TEXTS, return_tensors="pt", padding=padding, truncation=True)
        expected = normalize(torch.cat([model.get_text_features(**texts).pooler_output, images]), dim=1).numpy()
    found = encoder.encode([*map(Prompt.of, TEXTS), *map(picture, IMAGES)], QUERY)
    assert np.abs(found.vectors - expected).max() < 1e-5
    assert found.vectors.dtype == np.float32
    assert found.truncated.tolist() == [False, False, True, *[False] * 4]
    ends = 1 if folder.name == "siglip" else 2
    assert found.token_counts.tolist() == [2 + ends, 4 + ends, 16, 1 + ends, *[encoder.image_tokens] * 3]
    assert encoder.overhead(QUERY) == ends
    assert encoder.token_spans("red car").tolist() == [[0, 3], [4, 7]]
    assert encoder.trace([Prompt.of("red")], QUERY) is None


def test_vectors_equal_those_of_sentence_transformers(tmp_path: Path) -> None:
    folder = save_tiny_sentence_transformer(tmp_path / "m")
    oracle = SentenceTransformer(str(folder), device="cpu")
    found = load(folder).encode([*map(Prompt.of, TEXTS), *map(picture, IMAGES)], QUERY).vectors
    expected = np.concatenate([oracle.encode(TEXTS), oracle.encode(IMAGES)])  # type: ignore[arg-type]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(found - expected).max() < 1e-5


def test_a_prompt_has_the_same_vector_alone_and_in_a_batch(encoder: VisionEncoder) -> None:
    steered = rectangle(0, 0, 0.5, 1, 0.2)
    prompts = [
        *map(Prompt.of, TEXTS),
        Prompt.of("red car", (TextControl(start=0, length=3, factor=0.1),)),
        *(picture(noise(i)) for i in range(40)),  # more than one batch
        picture(noise(1), steered),
        Prompt(items=(TextItem(text="red"), ImageItem(data=encoded(noise(2)), controls=(steered,)))),
    ]
    for log_additive in (True, False):
        options = ControlOptions(target=ControlTarget.ATTENTION, log_additive=log_additive)
        done: list[int] = []
        together = encoder.encode(prompts, QUERY, options=options, progress=done.append)
        assert sum(done) == len(prompts)
        assert np.linalg.norm(together.vectors, axis=1) == pytest.approx(1, abs=1e-6)
        for index in (0, 1, 2, 3, 4, 5, 44, 45, 46):
            alone = encoder.encode([prompts[index]], QUERY, options=options)
            assert np.abs(alone.vectors[0] - together.vectors[index]).max() < 1e-5
            assert alone.token_counts[0] == together.token_counts[index]


def test_a_prompt_of_several_items_is_the_mean_of_its_text_and_its_images(encoder: VisionEncoder) -> None:
    ids = tuple(encoder.tokenizer.ids("car"))
    images = [ImageItem(data=encoded(image)) for image in IMAGES[:2]]
    prompt = Prompt(items=(images[0], TextItem(text="red"), images[1], TokenIdsItem(ids=ids)))
    parts = [vector(encoder, Prompt.of("red car")), *(vector(encoder, picture(image)) for image in IMAGES[:2])]
    mean = np.mean(parts, axis=0)
    shuffled = Prompt(items=(images[1], prompt.items[1], images[0], prompt.items[3]))
    found = encoder.encode([prompt, shuffled], QUERY)
    assert np.abs(found.vectors - mean / np.linalg.norm(mean)).max() < 1e-5
    assert found.token_counts.tolist() == [2 + encoder.overhead(QUERY) + 2 * encoder.image_tokens] * 2


def test_a_blank_text_counts_alone_but_not_beside_an_image(encoder: VisionEncoder) -> None:
    image = ImageItem(data=encoded(IMAGES[0]))
    blank = (TextItem(text=" "), TokenIdsItem(ids=()))
    found = encoder.encode([Prompt(items=(image,)), Prompt(items=(*blank, image)), Prompt(items=blank)], QUERY)
    assert np.abs(found.vectors[0] - found.vectors[1]).max() < 1e-6
    assert found.token_counts.tolist() == [encoder.image_tokens, encoder.image_tokens, encoder.overhead(QUERY)]


def test_the_most_urgent_is_embedded_first(encoder: VisionEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Priority] = []
    turn = encoder._queue.turn

    @contextmanager
    def noted(priority: Priority, **counts: int) -> Iterator[None]:
        with turn(priority, **counts):
            served.append(priority)  # before the next turn can begin
            yield

    monkeypatch.setattr(encoder._queue, "turn", noted)
    arrivals = [Priority.NICE, Priority.BULK, Priority.INTERACTIVE]
    with turn(Priority.NICE, texts=1, tokens=1):  # somebody is at work while the three arrive
        threads = [
            Thread(target=encoder.encode, args=([picture(IMAGES[0])], QUERY), kwargs={"priority": priority})
            for priority in arrivals
        ]
        for number, thread in enumerate(threads):
            thread.start()
            deadline = time.monotonic() + 60
            while sum(encoder.waiting().values()) <= number + 1:
                assert time.monotonic() < deadline
                time.sleep(0.001)
    for thread in threads:
        thread.join(60)
    assert served == [Priority.INTERACTIVE, Priority.BULK, Priority.NICE]


def test_nothing_to_embed_gives_an_empty_array(encoder: VisionEncoder) -> None:
    assert encoder.encode([], QUERY).vectors.shape == (0, encoder.dimension)


def test_bad_images_are_refused_before_any_is_embedded(encoder: VisionEncoder) -> None:
    done: list[int] = []
    animated = encoded(noise(1), "GIF", save_all=True, append_images=[noise(2)])
    prompts = [*map(picture, IMAGES), Prompt(items=(ImageItem(data=animated),))]
    with pytest.raises(InvalidInput, match="animated") as refused:
        encoder.encode(prompts, QUERY, progress=done.append)
    assert (refused.value.index, done) == (len(IMAGES), [])
    unknown = Prompt(items=(TokenIdsItem(ids=(99_999,)),))
    with pytest.raises(InvalidInput, match="token id 99999") as refused:
        encoder.encode([picture(IMAGES[0]), unknown], QUERY)
    assert refused.value.index == 1
    with pytest.raises(InvalidInput, match="outside the image of 60 x 60"):
        encoder.encode([picture(IMAGES[0], crop=Crop(x=1, y=0, size=60))], QUERY)


def test_an_image_that_is_asked_for_again_is_decoded_once(
    encoder: VisionEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an explanation does, with another control each time."""
    reads: list[object] = []
    original = read_picture
    monkeypatch.setattr(
        "embedder.vision.encoder.read_picture", lambda data, crop: reads.append(crop) or original(data, crop)
    )
    corner = Crop(x=0, y=0, size=20)
    tiles = [
        picture(noise(1), rectangle(i / 8, 0, 0.5, 0.5, 0.1), crop=crop) for i in range(4) for crop in (None, corner)
    ]
    found = encoder.encode(tiles, Representation.SYMMETRIC, options=ATTENTION).vectors
    assert sorted(reads, key=str) == sorted([None, corner], key=str)
    for row, tile in zip(found, tiles, strict=True):
        assert row == pytest.approx(vector(encoder, tile), abs=1e-5)


def test_the_images_of_a_call_together(encoder: VisionEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedder.vision.encoder.MAX_TOTAL_PIXELS", 2 * 60 * 60)
    two = [picture(noise(1)), picture(noise(2))]
    assert len(encoder.encode([*two, *two], Representation.SYMMETRIC).vectors) == 4  # the same ones count once
    with pytest.raises(InvalidInput, match="million pixels together"):
        encoder.encode([*two, picture(noise(3))], Representation.SYMMETRIC)


def test_it_ends_at_the_image_or_the_batch_after_which_nobody_waits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, told, decoded = load(folder), list[RanBatch](), [0]

    def leave(batch: RanBatch) -> None:
        told.append(batch)
        answer.give_up()

    def decode(data: bytes, crop: Crop | None) -> Picture:
        decoded[0] += 1
        answer.give_up()
        return read_picture(data, crop)

    answer = Awaited()
    encoder.observe(leave)
    with awaited(answer), pytest.raises(Abandoned):
        encoder.encode([Prompt.of("red car"), picture(noise(1))], QUERY)
    assert len(told) == 1
    answer = Awaited()
    monkeypatch.setattr("embedder.vision.encoder.read_picture", decode)
    with awaited(answer), pytest.raises(Abandoned):
        encoder.encode([picture(noise(1)), picture(noise(2))], QUERY)
    assert (decoded, len(told)) == ([1], 1)
