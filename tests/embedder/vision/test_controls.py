"""Controls on parts of images and on words beside them, against a tower written out head by head."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize
from transformers import AutoModel, AutoProcessor

from core.errors import InvalidControl
from core.prompts import (
    ControlOptions,
    ControlTarget,
    Crop,
    ImageControl,
    Prompt,
    TextControl,
    TokenControl,
    TokenIdsItem,
    TokenOverlap,
)
from embedder.vision.encoder import VisionEncoder
from tests.embedder.vision.seeing import ATTENTION, IMAGES, QUERY, load, picture, rectangle, vector
from tests.embedder.vision.tinyvision import noise


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


@pytest.mark.parametrize(("left", "top"), [(1.0, 0.0), (0.0, 1.0)])
def test_a_control_outside_the_image_is_refused(left: float, top: float) -> None:
    with pytest.raises(InvalidControl, match="lies outside the image"):
        rectangle(left, top, 0.5, 0.5, 0.0)


def test_threads_do_not_see_one_anothers_controls(encoder: VisionEncoder) -> None:
    prompts = [picture(IMAGES[0], rectangle(0, 0, 0.5, 1, factor)) for factor in (0.0, 0.2, 1.5)]
    prompts += [picture(IMAGES[0]), Prompt.of("red car", (TextControl(start=0, length=3, factor=0),))]
    expected = [vector(encoder, prompt) for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: vector(encoder, prompts[i % 5]), range(40)))
    for i, value in enumerate(found):
        assert np.abs(value - expected[i % 5]).max() < 1e-6
