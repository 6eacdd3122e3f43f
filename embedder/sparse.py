"""SPLADE models: learned sparse vectors from a masked language model.

The weight of vocabulary token j in a text follows from the logits l_ij that the model's head gives j at each token i of
the text:

    w_j = max_i f_i g(l_ij)    or    w_j = sum_i f_i g(l_ij),    g(x) = log(1 + max(x, 0))

Some models apply the logarithm twice: g(x) = log(1 + log(1 + max(x, 0))). f_i is the control factor of token i, 1 if
nothing is steered: a suppressed token contributes to no term, and through the attention it does not act on the other
tokens either. All tokens take part, special ones too, as the models are trained that way.
Sources: Formal et al., "SPLADE" (2021, sum) and "SPLADE v2" (2021, max); Shen et al., "Exploring l0 Sparsification for
Inference-free Sparse Retrievers" (2025, the double logarithm).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.errors import ModelError
from core.prompts import ControlOptions, Prompt
from core.protocols import Priority, Progress
from core.records import (
    Float32Array,
    Int32Array,
    Int64Array,
    Representation,
    SparseEmbeddings,
    SparseTrace,
    SparseVector,
    TermPooling,
)
from embedder.fingerprints import fingerprint_of
from embedder.forward import DEFAULT_OPTIONS, Forward, TokenVectors, sparse_embeddings
from embedder.loading import torch_device
from embedder.maskedlm import VocabularyHead, load_masked_language_model
from embedder.modelfolder import json_object, read_model_folder, token_limit, weights_sha256
from embedder.promptfactors import Negative
from embedder.tokens import load_tokenizer

LOGITS_AT_ONCE = 1 << 24  # 64 MB; a long text with a large vocabulary is pooled in pieces
_SPLADE_POOLING = "SpladePooling"  # a module type of sentence-transformers
_RELU, _LOG1P_RELU = "relu", "log1p_relu"


class SparseModel:
    """A masked language model as a sparse encoder. Fulfils core.protocols.SparseEncoder; thread-safe."""

    def __init__(
        self,
        *,
        name: str,
        fingerprint: str,
        forward: Forward,
        head: VocabularyHead,
        vocabulary: int,
        pooling: TermPooling,
        twice: bool,
    ) -> None:
        """`vocabulary`: the number of logits of the head. `twice`: whether the logarithm is applied twice."""
        self.name = name
        self.fingerprint = fingerprint
        self.max_tokens = forward.tokenizer.max_tokens
        self.tokenizer = forward.tokenizer
        self.support = forward.support
        self.pooling = pooling
        self._forward = forward
        self.observe, self.waiting = forward.observe, forward.waiting
        self._head = head
        self._vocabulary = vocabulary
        self._twice = twice

    def encode_sparse(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = DEFAULT_OPTIONS,
        priority: Priority = Priority.INTERACTIVE,
        progress: Progress | None = None,
    ) -> SparseEmbeddings:
        """The weights above 0 of every prompt, in the order of `prompts`; a text may have none.

        Raises InvalidControl if a control cannot act on this model.
        """
        prepared = self._forward.prepare(prompts, representation, options)
        found: dict[int, SparseVector] = {}

        def read(index: int, text: TokenVectors) -> None:
            found[index] = nonzero(self._weights(text).cpu().numpy())

        self._forward.run(prepared, options, read, priority=priority, progress=progress)
        return sparse_embeddings(prepared, found)

    def trace_sparse(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        terms: Sequence[Int32Array],
        *,
        options: ControlOptions = DEFAULT_OPTIONS,
    ) -> list[SparseTrace]:
        """The activations f_i g(l_ij) of every token i of prompt p for every term j of `terms[p]`.

        They are 0 for terms that the tokenizer has but the head has not.
        """
        prepared = self._forward.prepare(prompts, representation, options)
        found: dict[int, SparseTrace] = {}

        def read(index: int, text: TokenVectors) -> None:
            known = np.flatnonzero(terms[index] < self._vocabulary)
            chosen = torch.from_numpy(terms[index][known].astype(np.int64)).to(text.vectors.device)
            rows = [self._scaled(logits[:, chosen], factors) for logits, factors in self._pieces(text)]
            activations = np.zeros((len(text.vectors), len(terms[index])), dtype=np.float32)
            activations[:, known] = torch.cat(rows).cpu().numpy()
            found[index] = SparseTrace(
                spans=text.tokens.spans,
                special=text.tokens.special | text.tokens.prefix,
                activations=activations,
                pooling=self.pooling,
            )

        self._forward.run(prepared, options, read)
        return [found[index] for index in range(len(prepared))]

    def token(self, id: int) -> str:
        """The vocabulary's name of a token id. Raises InvalidInput for an unknown id."""
        return self.tokenizer.tokens([id])[0]

    def token_spans(self, text: str) -> Int64Array:
        """(tokens, 2) character spans of the model's tokens of `text`, without special tokens, not truncated."""
        return self.tokenizer.spans(text)

    def overhead(self, representation: Representation) -> int:
        """Number of tokens added to every prompt of this representation: special tokens and prefix."""
        return self._forward.overhead(representation)

    def _weights(self, text: TokenVectors) -> Tensor:
        """(vocabulary,) the weights of one text."""
        if self.pooling is TermPooling.SUM:
            return torch.stack([self._scaled(*piece).sum(dim=0) for piece in self._pieces(text)]).sum(dim=0)
        if text.factors is not None:
            return torch.stack([self._scaled(*piece).amax(dim=0) for piece in self._pieces(text)]).amax(dim=0)
        # g is monotonic, so it is enough to apply it to each term's largest logit instead of to those of all tokens.
        return self._activated(torch.stack([logits.amax(dim=0) for logits, _ in self._pieces(text)]).amax(dim=0))

    def _pieces(self, text: TokenVectors) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yields logits (tokens, vocabulary) and factors (tokens,) for a part of the tokens at a time."""
        size = max(1, LOGITS_AT_ONCE // self._vocabulary)
        for start in range(0, len(text.vectors), size):
            piece = slice(start, start + size)
            yield self._head(text.vectors[piece]), None if text.factors is None else text.factors[piece]

    def _scaled(self, logits: Tensor, factors: Tensor | None) -> Tensor:
        activated = self._activated(logits)
        return activated if factors is None else activated * factors[:, None]

    def _activated(self, logits: Tensor) -> Tensor:
        once = torch.log1p(logits.relu())
        return torch.log1p(once) if self._twice else once


def load_sparse(folder: Path, *, name: str | None = None, device: str = "auto") -> SparseModel:
    """Loads the SPLADE model of a sentence-transformers folder, or a plain masked language model of Hugging Face.

    The latter is used in SPLADE's usual form, with the maximum over the tokens. `name`: None for the folder's own;
    `device` as in embedder.loading.load_encoder. Raises ModelError if the folder, its weights or the device cannot be
    used.
    """
    described = read_model_folder(folder, also=(_SPLADE_POOLING,))
    if described.dense:
        raise ModelError(f"{folder / 'modules.json'}: a dense layer has no place in a sparse model")
    pooling, twice = _pooling(described.others.get(_SPLADE_POOLING))
    model = load_masked_language_model(described.transformer, torch_device(device))
    max_tokens = token_limit(described.transformer, model.positions, described.max_tokens)
    definition, tokenizer = load_tokenizer(described.transformer, max_tokens, lowercase=described.lowercase)
    name = name or described.name
    weights = weights_sha256(described.transformer)
    form = f"{pooling.value} {_LOG1P_RELU if twice else _RELU}"
    return SparseModel(
        name=name,
        fingerprint=fingerprint_of(described, weights, definition, max_tokens, model.vocabulary, sparse=form),
        forward=Forward(
            name=name, prefixes=described.prefixes, tokenizer=tokenizer, backbone=model.backbone, negative=Negative.ZERO
        ),
        head=model.head,
        vocabulary=model.vocabulary,
        pooling=pooling,
        twice=twice,
    )


def nonzero(weights: Float32Array) -> SparseVector:
    """The sparse vector of the weights above 0; `weights`: (vocabulary,)."""
    ids = np.flatnonzero(weights > 0)
    return SparseVector(ids=ids.astype(np.int32), weights=weights[ids])


def _pooling(folder: Path | None) -> tuple[TermPooling, bool]:
    """How tokens are pooled, and whether the logarithm is applied twice. Raises ModelError for other settings."""
    config = {} if folder is None else json_object(folder / "config.json")
    strategy = config.get("pooling_strategy", TermPooling.MAX.value)
    activation = config.get("activation_function", _RELU)
    if strategy not in tuple(TermPooling) or activation not in (_RELU, _LOG1P_RELU):
        raise ModelError(
            f"{folder}: pooling {strategy!r} with activation {activation!r} is not supported; supported are max and "
            f"sum, with {_RELU} and {_LOG1P_RELU}"
        )
    return TermPooling(strategy), activation == _LOG1P_RELU
