"""Texts and images in one space: transformers and sentence-transformers as the oracles, steering, and refusals."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from torch.nn.functional import normalize
from transformers import AutoModel, AutoProcessor

from core.errors import InvalidControl, InvalidInput
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
from embedder.loading import load_model
from embedder.vision.encoder import VisionEncoder
from embedder.vision.imagefile import read_picture
from tests.embedder.vision.tinyvision import KINDS, encoded, noise, save_tiny_sentence_transformer, save_tiny_vision

TEXTS = ["red car", "the big blue house", "i want to play on my tv " * 4, "x"]
IMAGES = [noise(1), noise(2, 37, 37), noise(3, 90, 90)]
QUERY = Representation.QUERY
ATTENTION = ControlOptions(target=ControlTarget.ATTENTION)


def load(folder: Path) -> VisionEncoder:
    model = load_model(folder, device="cpu")
    assert isinstance(model, VisionEncoder)
    return model


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_vision(tmp_path_factory.mktemp("vision") / request.param, request.param)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> VisionEncoder:
    return load(folder)


def picture(image: Image.Image, *controls: ImageControl, crop: Crop | None = None) -> Prompt:
    return Prompt(items=(ImageItem(data=encoded(image), controls=controls, crop=crop),))


def vector(encoder: VisionEncoder, prompt: Prompt, options: ControlOptions = ATTENTION) -> np.ndarray:
    return encoder.encode([prompt], QUERY, options=options).vectors[0]


def rectangle(left: float, top: float, width: float, height: float, factor: float) -> ImageControl:
    return ImageControl(left=left, top=top, width=width, height=height, factor=factor)


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
    turn = encoder._line.turn

    @contextmanager
    def noted(priority: Priority, **counts: int) -> Iterator[None]:
        with turn(priority, **counts):
            served.append(priority)  # before the next turn can begin
            yield

    monkeypatch.setattr(encoder._line, "turn", noted)
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


def test_the_crop_is_what_is_seen(encoder: VisionEncoder) -> None:
    wide = Image.new("RGB", (100, 60), "red")
    wide.paste(noise(1, 60, 60), (40, 0))
    cropped = picture(wide, crop=Crop(x=40, y=0, size=60))
    assert np.abs(vector(encoder, cropped) - vector(encoder, picture(noise(1, 60, 60)))).max() < 1e-6
    assert not np.allclose(vector(encoder, picture(wide)), vector(encoder, cropped), atol=1e-2)


def test_a_suppressed_part_of_an_image_does_not_act(encoder: VisionEncoder) -> None:
    """Two images that differ in their right half alone; where nothing is suppressed their vectors differ."""
    one, other = noise(1, 240, 240), noise(1, 240, 240)
    other.paste(noise(2, 120, 240), (120, 0))
    # Whole patches, and those that the resizing blurs the border into.
    half = ImageControl(left=0.45, top=0, width=0.55, height=1, factor=0.0, token_overlap=TokenOverlap.COMPLETE)
    suppressed = vector(encoder, picture(one, half)), vector(encoder, picture(other, half))
    assert suppressed[0] @ suppressed[1] > 0.9999
    assert vector(encoder, picture(one)) @ vector(encoder, picture(other)) < 0.99
    assert suppressed[0] @ vector(encoder, picture(one)) < 0.9999


def test_a_suppressed_word_does_not_act(encoder: VisionEncoder) -> None:
    def suppressed(text: str) -> Prompt:
        return Prompt.of(text, (TextControl(start=4, length=3, factor=0),))

    one, other = (vector(encoder, suppressed(text)) for text in ("the red car", "the big car"))
    assert one @ other > 0.9999
    plain = [vector(encoder, Prompt.of(text)) for text in ("the red car", "the big car")]
    assert plain[0] @ plain[1] < 0.999
    ids = tuple(encoder.tokenizer.ids("the red car"))
    by_index = Prompt(items=(TokenIdsItem(ids=ids, controls=(TokenControl(index=1, factor=0),)),))
    assert np.abs(vector(encoder, by_index) - one).max() < 1e-5


@pytest.mark.parametrize("log_additive", [True, False])
@pytest.mark.parametrize("factor", [0.0, 0.3, 1.5, 7.0])
def test_image_controls_equal_a_forward_pass_written_out(
    folder: Path, encoder: VisionEncoder, log_additive: bool, factor: float
) -> None:
    control = rectangle(0, 0, 0.6, 0.7, factor)
    options = ControlOptions(target=ControlTarget.ATTENTION, log_additive=log_additive)
    found = vector(encoder, picture(IMAGES[0], control), options)
    side = round(encoder.image_tokens**0.5)
    size, margin = (30, 0) if folder.name == "siglip" else (40, 4) if folder.name == "clip-margin" else (32, 0)
    shares = [
        [
            max(0.0, min(limit, (margin + 8 * (i + 1)) / size) - (margin + 8 * i) / size) / (8 / size)
            for i in range(side)
        ]
        for limit in (0.7, 0.6)
    ]
    patches = 1 + (factor - 1) * np.outer(*np.clip(shares, 0, 1)).ravel()
    assert np.abs(found - slow_image_tower(folder, IMAGES[0], patches, log_additive)).max() < 1e-5


def slow_image_tower(folder: Path, image: Image.Image, patches: np.ndarray, log_additive: bool) -> np.ndarray:
    """An image tower head by head and row by row, in float64, with factors on the keys."""
    model = AutoModel.from_pretrained(folder).double().eval()
    tower = model.vision_model
    pixels = AutoProcessor.from_pretrained(folder)(images=[image], return_tensors="pt")["pixel_values"].double()
    is_clip = not hasattr(tower, "head")
    factors = torch.from_numpy(np.concatenate([[1.0], patches]) if is_clip else patches)

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        width = q.shape[-1] // 4
        rows = torch.zeros_like(q)
        for head in range(4):
            cut = slice(head * width, (head + 1) * width)
            for row in range(len(q)):
                scores = k[:, cut] @ q[row, cut] / width**0.5
                if log_additive:
                    scores = scores + torch.log(factors).clamp_min(-1e4)
                else:
                    scores = (scores - scores.min()) * factors
                rows[row, cut] = scores.softmax(0) @ v[:, cut]
        return rows

    with torch.no_grad():
        x = tower.embeddings(pixels)[0]
        x = tower.pre_layrnorm(x) if is_clip else x
        for layer in tower.encoder.layers:
            own, y = layer.self_attn, layer.layer_norm1(x)
            x = x + own.out_proj(attend(own.q_proj(y), own.k_proj(y), own.v_proj(y)))
            x = x + layer.mlp(layer.layer_norm2(x))
        if is_clip:
            found = model.visual_projection(tower.post_layernorm(x[0]))
        else:
            x, head = tower.post_layernorm(x), tower.head
            q, k, v = (
                source @ weight.T + bias
                for source, weight, bias in zip(
                    (head.probe[0], x, x),
                    head.attention.in_proj_weight.chunk(3),
                    head.attention.in_proj_bias.chunk(3),
                    strict=True,
                )
            )
            pooled = head.attention.out_proj(attend(q, k, v))
            found = (pooled + head.mlp(head.layernorm(pooled)))[0]
        return normalize(found, dim=0).numpy()


@pytest.mark.parametrize("log_additive", [True, False])
def test_what_asks_for_nothing_changes_nothing(encoder: VisionEncoder, log_additive: bool) -> None:
    options = ControlOptions(target=ControlTarget.ATTENTION, log_additive=log_additive)
    wide = noise(4, 120, 60)  # the outer quarters are not seen
    plain = vector(encoder, picture(wide))
    for control in (rectangle(0, 0, 1, 1, 1.0), rectangle(0, 0, 0.25, 1, 0.0), rectangle(0.75, 0, 0.25, 1, 9.0)):
        assert np.array_equal(vector(encoder, picture(wide, control), options), plain)
    beside = [picture(wide), picture(wide, rectangle(0.3, 0.2, 0.3, 0.3, 3.0))]  # runs with factors of 1
    assert np.abs(encoder.encode(beside, QUERY, options=options).vectors[0] - plain).max() < 1e-5


def test_auto_stays_below_the_factor_at_which_attention_backfires(encoder: VisionEncoder) -> None:
    strong, two = (picture(IMAGES[0], rectangle(0, 0, 0.5, 0.5, factor)) for factor in (9.0, 2.0))
    auto = vector(encoder, strong, ControlOptions())
    options = ControlOptions(target=ControlTarget.ATTENTION)
    assert not np.allclose(auto, vector(encoder, strong, options), atol=1e-3)
    whole_patches = picture(IMAGES[0], ImageControl(left=0, top=0, width=1, height=0.3, factor=9.0))
    assert not np.allclose(vector(encoder, whole_patches, ControlOptions()), vector(encoder, picture(IMAGES[0])))
    assert np.isfinite(vector(encoder, two, options)).all()


def test_similar_words_are_steered_along(encoder: VisionEncoder) -> None:
    text, options = "red car red house", ControlOptions(target=ControlTarget.ATTENTION, contextual_threshold=0.99)
    first = TextControl(start=0, length=3, factor=0.0)
    both = (first, TextControl(start=8, length=3, factor=0.0))
    along = vector(encoder, Prompt.of(text, (first,)), options)
    assert np.abs(along - vector(encoder, Prompt.of(text, both))).max() < 1e-6
    assert not np.allclose(along, vector(encoder, Prompt.of(text, (first,))), atol=1e-4)


@pytest.mark.parametrize("target", [ControlTarget.POOL, ControlTarget.BOTH])
def test_a_pool_control_is_refused(encoder: VisionEncoder, target: ControlTarget) -> None:
    assert not encoder.support.pool
    assert not encoder.image_support.pool
    options = ControlOptions(target=target)
    with pytest.raises(InvalidControl, match=r"on .* for images: its vectors are read off the attention"):
        encoder.encode([picture(IMAGES[0], rectangle(0, 0, 0.5, 1, 2.0))], QUERY, options=options)
    with pytest.raises(InvalidControl, match=r"on .* for texts"):
        encoder.encode([Prompt.of("red", (TextControl(start=0, length=3, factor=2.0),))], QUERY, options=options)
    encoder.encode([picture(IMAGES[0], rectangle(0, 0, 0.5, 1, 1.0))], QUERY, options=options)


def test_an_image_that_is_suppressed_whole(folder: Path, encoder: VisionEncoder) -> None:
    """CLIP's class token is left to attend to; SigLIP has none, and equal factors on all keys would cancel out."""
    prompts = [picture(image, rectangle(0, 0, 1, 1, 0.0)) for image in IMAGES[:2]]
    if folder.name == "siglip":
        with pytest.raises(InvalidControl, match="suppress all that the model sees of the image"):
            encoder.encode(prompts, QUERY)
    else:
        one, other = encoder.encode(prompts, QUERY).vectors
        assert one @ other > 0.9999


def test_attention_out_of_reach_is_refused_and_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load(folder).encode([picture(IMAGES[0]), Prompt.of("red car")], QUERY).vectors
    monkeypatch.setattr("embedder.vision.towers.IMPLEMENTATION", "eager")  # an attention that does not listen
    deaf = load(folder)
    assert not deaf.support.attention
    assert not deaf.image_support.attention
    assert np.abs(deaf.encode([picture(IMAGES[0]), Prompt.of("red car")], QUERY).vectors - expected).max() < 1e-5
    for options in (ControlOptions(), ATTENTION):
        with pytest.raises(InvalidControl, match="for images: what is suppressed still acts on the vector"):
            deaf.encode([picture(IMAGES[0], rectangle(0, 0, 0.5, 1, 2.0))], QUERY, options=options)


def test_bad_images_are_refused_before_any_is_embedded(encoder: VisionEncoder) -> None:
    done: list[int] = []
    animated = encoded(noise(1), "GIF", save_all=True, append_images=[noise(2)])
    prompts = [*map(picture, IMAGES), Prompt(items=(ImageItem(data=animated),))]
    with pytest.raises(InvalidInput, match="animated"):
        encoder.encode(prompts, QUERY, progress=done.append)
    assert done == []
    with pytest.raises(InvalidInput, match="outside the image of 60 x 60"):
        encoder.encode([picture(IMAGES[0], crop=Crop(x=1, y=0, size=60))], QUERY)


def test_threads_do_not_see_one_anothers_controls(encoder: VisionEncoder) -> None:
    prompts = [picture(IMAGES[0], rectangle(0, 0, 0.5, 1, factor)) for factor in (0.0, 0.2, 1.5)]
    prompts += [picture(IMAGES[0]), Prompt.of("red car", (TextControl(start=0, length=3, factor=0),))]
    expected = [vector(encoder, prompt) for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: vector(encoder, prompts[i % 5]), range(40)))
    for i, value in enumerate(found):
        assert np.abs(value - expected[i % 5]).max() < 1e-6


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


@pytest.mark.parametrize(("left", "top"), [(1.0, 0.0), (0.0, 1.0)])
def test_a_control_outside_the_image_is_refused(left: float, top: float) -> None:
    with pytest.raises(InvalidControl, match="lies outside the image"):
        rectangle(left, top, 0.5, 0.5, 0.0)
