"""Measure faithfulness: whether explanations name the words that the score depends on.

For the passage of the first hit of each query, every method gives each word a number. The words are then deleted from
the text, those with the largest number first, and the rest is embedded again. With s the cosine, s_k that of the text
without the first k % of the words, r_k that of these words alone:

    comprehensiveness   mean of (s - s_k) / s over k = 1, 5, 10, 20, 50       higher is better
    sufficiency         mean of (s - r_k) / s over the same k                 lower is better
    deletion            area under s_k / s over k = 0, 10, ... 100            lower is better
    without K           (s - s_k) / s for single k: the terms of comprehensiveness, and some between. Figures over
                        other k, or over texts of another length, have another scale, which that of "random" shows

Source of the first two: DeYoung et al., "ERASER: A Benchmark to Evaluate Rationalized NLP Models", ACL 2020; of the
third: Petsiuk, Das, Saenko, "RISE", BMVC 2018. The method "occlusion" deletes each word alone and runs the network
again, one pass per word; it is the method closest to what is measured here.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import torch

from app.wiring import Wiring
from core.passages import passage_prompt, prompt_title
from core.prompts import Prompt
from core.records import CollectionSettings, Float64Array, Representation
from embedder.explaining.request import Granularity
from embedder.generic import differentiable
from embedder.kinds import DEFAULT_MODEL, model_folder
from embedder.lexical.words import Word, units
from embedder.local import LocalEncoder
from retriever.legs import Leg
from retriever.query import Query
from retriever.unit_effects import unit_effects
from retriever.unit_request import UnitMethod, UnitRequest
from retriever.words import DenseWords, dense_query, dense_words, passage_words

BINS = (1, 5, 10, 20, 50)  # per cent of the words
SHOWN = (1, 5, 10, 20, 30, 40, 50)  # the same and some between
CURVE = range(0, 101, 10)
SEED = 20260101

Method = Callable[[str, str, Sequence[Word], Float64Array], Sequence[float]]  # query, passage, words, query's vector


def measure_faithfulness(parts: Wiring, queries: Sequence[str], count: int) -> dict[str, dict[str, float]]:
    """By method: each figure's mean over at most `count` passages of the collection "bench", and their number n."""
    encoder = parts.encoder
    assert isinstance(encoder, LocalEncoder)
    asked = random.Random(SEED).sample(list(queries), min(count, len(queries)))
    methods = _methods(encoder)
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in methods}
    for query in asked:
        hits = parts.searcher.search("bench", Query(text=query, k=1, legs=(Leg.DENSE,))).hits
        if not hits:
            continue
        title = prompt_title(hits[0].title, CollectionSettings(), encoder)
        passage = passage_prompt(title, hits[0].text)
        words = list(units(passage))
        vector = encoder.encode([Prompt.of(query)], Representation.QUERY).vectors[0].astype(np.float64)
        for name, method in methods.items():
            scores = np.asarray(method(query, passage, words, vector))
            rows[name].append(_figures(encoder, vector, passage, words, np.argsort(-scores, kind="stable").tolist()))
    names = ("comprehensiveness", "sufficiency", "deletion", *(f"without {share}" for share in SHOWN))
    return {
        name: {figure: float(np.mean([row[i] for row in found])) for i, figure in enumerate(names)} | {"n": len(found)}
        for name, found in rows.items()
    }


def _methods(encoder: LocalEncoder) -> dict[str, Method]:
    chosen = random.Random(SEED)
    network = _GradientTimesInput(encoder)
    return {
        "leave-one-out in the pool": lambda q, p, w, v: _dense(encoder, q, p).effects.tolist(),
        "shares of the cosine": lambda q, p, w, v: _dense(encoder, q, p).shares.tolist(),
        "atman": lambda q, p, w, v: _by_units(encoder, p, w, v, UnitMethod.ATMAN),
        "integrated gradients": lambda q, p, w, v: _by_units(encoder, p, w, v, UnitMethod.INTEGRATED_GRADIENTS),
        "gradient x input": lambda q, p, w, v: network.scores(p, w, v),
        "occlusion": lambda q, p, w, v: _occlusion(encoder, p, w, v),
        "random": lambda q, p, w, v: [chosen.random() for _ in w],
    }


def _dense(encoder: LocalEncoder, query: str, passage: str) -> DenseWords:
    asked = encoder.trace([Prompt.of(query)], Representation.QUERY)
    traces = encoder.trace([Prompt.of(passage)], Representation.DOCUMENT)
    assert asked is not None
    assert traces is not None
    return dense_words(passage_words(passage, 0, "en"), dense_query(query, asked[0]), traces[0])


def _by_units(
    encoder: LocalEncoder, passage: str, words: Sequence[Word], vector: Float64Array, method: UnitMethod
) -> list[float]:
    """The effects that /explain gives, which are per unit between spaces, for each word."""
    request = UnitRequest(method=method, granularity=Granularity.WORD)
    found = unit_effects(request, passage_words(passage, 0, "en"), encoder, vector, {}, {}, {Leg.DENSE: 1.0})
    return [next((u.effect for u in found if u.start <= word.start < u.end), 0.0) for word in words]


def _occlusion(encoder: LocalEncoder, passage: str, words: Sequence[Word], vector: Float64Array) -> list[float]:
    texts = [_without(passage, [word]) for word in words]
    return [-cosine for cosine in _cosines(encoder, texts, vector)]  # less the whole text's cosine, a constant


class _GradientTimesInput:
    """The gradient of the cosine with respect to the input vectors, times these vectors, summed per word.

    The product does not offer this method; the figures show why.
    """

    def __init__(self, encoder: LocalEncoder) -> None:
        self._tokenizer = encoder.tokenizer
        self._model = differentiable(model_folder(DEFAULT_MODEL), torch.device("cpu"))

    def scores(self, passage: str, words: Sequence[Word], vector: Float64Array) -> list[float]:
        [tokens] = self._tokenizer.tokenize([Prompt.of(passage)])
        with torch.enable_grad():
            given = self._model.get_input_embeddings()(torch.from_numpy(tokens.ids)[None]).detach().requires_grad_()
            mean = self._model(inputs_embeds=given).last_hidden_state.mean(dim=1)  # as all-MiniLM-L6-v2 pools
            cosine = torch.nn.functional.normalize(mean, dim=1) @ torch.from_numpy(vector.astype(np.float32))
            (gradient,) = torch.autograd.grad(cosine.sum(), given)
        by_token = (gradient * given).sum(dim=-1)[0].detach().numpy()
        return [
            float(by_token[(tokens.spans[:, 0] >= w.start) & (tokens.spans[:, 0] < w.end) & ~tokens.special].sum())
            for w in words
        ]


def _figures(
    encoder: LocalEncoder, vector: Float64Array, passage: str, words: Sequence[Word], order: Sequence[int]
) -> tuple[float, ...]:
    """Comprehensiveness, sufficiency, deletion, and the loss for each share of SHOWN.

    `order`: indices of the words, the most important first.
    """
    ranked = [words[i] for i in order]
    cuts = {share: math.ceil(len(words) * share / 100) for share in SHOWN}
    steps = [round(len(words) * share / 100) for share in CURVE]
    texts = [passage, *(_without(passage, ranked[:cut]) for cut in cuts.values())]
    texts += [_without(passage, ranked[cuts[share] :]) for share in BINS]
    texts += [_without(passage, ranked[:cut]) for cut in steps]
    whole, *found = _cosines(encoder, texts, vector)
    lost = {share: (whole - found.pop(0)) / whole for share in SHOWN}
    alone, curve = found[: len(BINS)], found[len(BINS) :]
    return (
        float(np.mean([lost[share] for share in BINS])),
        float(np.mean([(whole - cosine) / whole for cosine in alone])),
        float(np.trapezoid([cosine / whole for cosine in curve], np.array(CURVE) / 100)),
        *lost.values(),
    )


def _cosines(encoder: LocalEncoder, texts: Sequence[str], vector: Float64Array) -> list[float]:
    """The cosine of each text and `vector`; 0 for an empty text."""
    readable = [text for text in texts if text.strip()]
    found = iter(encoder.encode([Prompt.of(text) for text in readable], Representation.DOCUMENT).vectors @ vector)
    return [float(next(found)) if text.strip() else 0.0 for text in texts]


def _without(passage: str, words: Sequence[Word]) -> str:
    for word in sorted(words, key=lambda word: -word.start):
        passage = passage[: word.start] + passage[word.end :]
    return passage
