"""Fit the projection to 128 dimensions that comes with the default model: `python -m bench.projection`.

The texts are the words of the model's own vocabulary, each alone: every entry of three letters or more that begins a
word. They speak of everything a little and belong to no collection that the projection is judged on.
"""

from __future__ import annotations

import argparse
import re

from core.prompts import Prompt
from core.records import Representation
from embedder.loading import load_encoder
from embedder.local import LocalEncoder
from embedder.projection import SHIPPED, space
from embedder.projectionfile import Projection, SecondMoment, write_projection

SIZE = 128
_WORD = re.compile(r"[a-z]{3,}")  # the continuations of words begin with ##
_BATCH = 512


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.projection", description="Fit the shipped projection anew.")
    parser.parse_args()
    encoder = load_encoder(precision="fp32", device="cpu")
    projection = fit(encoder, words(encoder))
    file = write_projection(SHIPPED, projection)
    print(f"{projection.texts:,} words, {projection.kept:.1%} of their squared length kept; written to {file}")


def words(encoder: LocalEncoder) -> list[str]:
    """The words of the vocabulary in the order of their ids, commonest first."""
    known = sorted(encoder.tokenizer.vocabulary().items(), key=lambda entry: entry[1])
    return [token for token, _ in known if _WORD.fullmatch(token)]


def fit(encoder: LocalEncoder, texts: list[str]) -> Projection:
    """The principal components, without centring, of the texts' vectors."""
    moment = SecondMoment(encoder.dimension)
    for start in range(0, len(texts), _BATCH):
        prompts = [Prompt.of(text) for text in texts[start : start + _BATCH]]
        moment.add(encoder.encode(prompts, Representation.DOCUMENT).vectors)
    return moment.fit(SIZE, space=space(encoder), model=encoder.name)


if __name__ == "__main__":
    main()
