"""Refit the default model's projection to 128 dimensions: `python -m bench.projection [--json]`.

The texts are the words of the model's own vocabulary, one at a time: every entry of three letters or more that starts a
word. They cover all subjects and belong to no collection that the projection is evaluated on. `kept`: the share of the
words' squared length that the fitted and the shipped projection keep; `in_common`: how much of their subspaces the two
share, 1 if they span the same. With --write the fitted projection replaces the shipped one.
"""

from __future__ import annotations

import argparse
import re

import numpy as np

from bench.command import Report, add_json, tell
from core.prompts import Prompt
from core.records import Representation
from embedder.loading import load_encoder
from embedder.local import LocalEncoder
from embedder.projection import SHIPPED, space
from embedder.projectionfile import Projection, SecondMoment, projection_file, read_projection, write_projection

SIZE = 128
_WORD = re.compile(r"[a-z]{3,}")  # continuations of words start with ##
_BATCH = 512


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.projection", description="The shipped projection anew.")
    add_json(parser)
    parser.add_argument("--write", action="store_true", help="put it in the place of the one that is there")
    given = parser.parse_args()
    encoder = load_encoder(precision="fp32", device="cpu")
    fitted = fit(encoder, words(encoder))
    tell(compared(fitted), as_json=given.json)
    if given.write:
        write_projection(SHIPPED, fitted)


def compared(fitted: Projection) -> Report:
    """Compare the fitted projection with the shipped one: `kept` and `in_common` are shares, 0..1."""
    there = read_projection(projection_file(SHIPPED, fitted.space, SIZE))
    common = float(np.square(fitted.matrix @ there.matrix.T, dtype=np.float64).sum()) / SIZE
    return {"words": fitted.texts, "kept": {"fitted": fitted.kept, "there": there.kept}, "in_common": common}


def words(encoder: LocalEncoder) -> list[str]:
    """The words of the vocabulary in the order of their ids, the most common first."""
    known = sorted(encoder.tokenizer.vocabulary().items(), key=lambda entry: entry[1])
    return [token for token, _ in known if _WORD.fullmatch(token)]


def fit(encoder: LocalEncoder, texts: list[str]) -> Projection:
    """Fit the projection: the principal components of the texts' vectors, without centring."""
    moment = SecondMoment(encoder.dimension)
    for start in range(0, len(texts), _BATCH):
        prompts = [Prompt.of(text) for text in texts[start : start + _BATCH]]
        moment.add(encoder.encode(prompts, Representation.DOCUMENT).vectors)
    return moment.fit(SIZE, space=space(encoder), model=encoder.name)


if __name__ == "__main__":
    main()
