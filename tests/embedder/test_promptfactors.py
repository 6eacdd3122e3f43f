"""Which tokens of a prompt a contextual control reaches, where all word vectors are equal: all but stop words."""

from __future__ import annotations

import numpy as np
import pytest

from core.prompts import ControlOptions, Prompt, TextControl, TextItem, TokenControl, TokenIdsItem
from core.records import Float32Array, Int64Array
from embedder.local import LocalEncoder
from embedder.promptfactors import prompt_factors


def _same(ids: Int64Array) -> Float32Array:
    return np.ones((len(ids), 4), dtype=np.float32)


def _reached(encoder: LocalEncoder, prompt: Prompt) -> list[str]:
    """The tokens that a control with the factor 3 reaches, those that it names included."""
    (tokens,) = encoder.tokenizer.tokenize([prompt])
    factors = prompt_factors(prompt, tokens, ControlOptions(contextual_threshold=0.9), encoder.tokenizer, _same)
    assert factors is not None
    return [encoder.tokenizer.text([int(id)]).strip() for id in tokens.ids[factors == 3]]


def _steered(text: str, word: str) -> Prompt:
    return Prompt.of(text, (TextControl(start=text.index(word), length=len(word), factor=3),))


@pytest.mark.parametrize(
    ("text", "word", "reached"),
    [
        ("the war and her son", "war", ["war", "her", "son"]),
        ("a man at sea in war", "sea", ["man", "sea", "war"]),
        ("the man and his son did not want to die in the war", "man", "man his son did want die war".split()),
        ("man and son", "and", ["and"]),  # a stop word passes nothing on
        ("die war still", "still", ["die", "war", "still"]),  # too short for German to be told from it
    ],
)
def test_stop_words_of_other_languages_are_reached(
    encoder: LocalEncoder, text: str, word: str, reached: list[str]
) -> None:
    assert _reached(encoder, _steered(text, word)) == reached


def test_stop_words_of_a_prompts_own_language_stay_out(encoder: LocalEncoder) -> None:
    reached = _reached(encoder, _steered("die stadt war in der nacht still, und die mutter war da", "nacht"))
    assert {"still", "mutter"} & set(reached)
    assert not {"die", "war", "in", "der", "und", "da"} & set(reached)


def test_all_items_tell_the_language_together(encoder: LocalEncoder) -> None:
    ids = tuple(encoder.tokenizer.ids("still: die mutter war in der nacht da, und die stadt war fern"))
    controlled = TokenIdsItem(ids=ids, controls=(TokenControl(index=0, factor=3),))
    assert "war" not in _reached(encoder, Prompt(items=(controlled, TextItem(text="war"))))
    short = TokenIdsItem(ids=ids[:1], controls=controlled.controls)
    assert _reached(encoder, Prompt(items=(short, TextItem(text="war")))) == ["still", "war"]
