"""Hybrid models such as BGE-M3: dense and learned sparse vectors from one forward pass.

The dense vector is that of the first token, after the folder's dense layers if it has any, scaled to unit length. The
weight of a vocabulary token j is computed by the sparse head, one linear unit, from the vectors h_i of the token's own
occurrences i in the text:

    w_j = max over the i with id j of  f_i max(w . h_i + b, 0)

So a text has weights for its own tokens only. f_i is the control factor of token i. Special and unknown tokens have no
weight. The folder's third head, colbert_linear, which makes one vector per token for late interaction, is not used.
Source: Chen et al., "M3-Embedding: Multi-Linguality, Multi-Functionality, Multi-Granularity Text Embeddings" (2024).
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from core.errors import ModelError
from core.prompts import ControlOptions, Prompt
from core.protocols import Priority, Progress
from core.records import (
    Embeddings,
    Float32Array,
    Int32Array,
    Int64Array,
    Representation,
    SparseEmbeddings,
    SparseTrace,
    SparseVector,
    TermPooling,
    TokenTrace,
)
from embedder.controlsupport import ControlSupport
from embedder.fingerprints import fingerprint_of
from embedder.forward import DEFAULT_OPTIONS, Forward, TokenVectors, sparse_embeddings
from embedder.loading import load_backbone, torch_device
from embedder.modelfolder import Pooling, json_object, read_model_folder, token_limit, weights_sha256
from embedder.pooling import DenseHead
from embedder.tokens import TextTokenizer, load_tokenizer

_UNWEIGHTED = ("cls_token", "eos_token", "sep_token", "bos_token", "pad_token", "unk_token")  # of tokenizer_config.json


class HybridModel:
    """Fulfils core.protocols.HybridEncoder; thread-safe."""

    def __init__(
        self,
        *,
        name: str,
        fingerprint: str,
        forward: Forward,
        dense_head: DenseHead,
        sparse_head: SparseHead,
        unweighted: frozenset[int],
    ) -> None:
        """`unweighted`: ids of the tokens that never get a weight."""
        self.name = name
        self.fingerprint = fingerprint
        self.dimension = dense_head.out_features or forward.backbone.width
        self.max_tokens = forward.tokenizer.max_tokens
        self.tokenizer = forward.tokenizer
        # Describes the dense vector only: factors always act on the sparse weights.
        self.support = ControlSupport.of(
            forward.backbone.attention_problem, "its dense vector is the first token's, not a mean"
        )
        self._forward = forward
        self.observe, self.waiting = forward.observe, forward.waiting
        self._dense_head = dense_head
        self._sparse_head = sparse_head
        self._unweighted = np.array(sorted(unweighted), dtype=np.int64)

    def encode(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = DEFAULT_OPTIONS,
        priority: Priority = Priority.INTERACTIVE,
        progress: Progress | None = None,
    ) -> Embeddings:
        """The dense vectors of `encode_hybrid`: computing the sparse weights too costs next to nothing."""
        return self.encode_hybrid(prompts, representation, options=options, priority=priority, progress=progress)[0]

    def encode_sparse(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = DEFAULT_OPTIONS,
        priority: Priority = Priority.INTERACTIVE,
        progress: Progress | None = None,
    ) -> SparseEmbeddings:
        """The weights of every prompt's tokens, in the order of `prompts`.

        Raises InvalidControl if the attention takes no factors and `options` ask for more than the pool.
        """
        prepared = self._forward.prepare(prompts, representation, options)
        found: dict[int, SparseVector] = {}

        def read(index: int, text: TokenVectors) -> None:
            found[index] = self._sparse(text)

        self._forward.run(prepared, options, read, priority=priority, progress=progress)
        return sparse_embeddings(prepared, found)

    def encode_hybrid(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        *,
        options: ControlOptions = DEFAULT_OPTIONS,
        priority: Priority = Priority.INTERACTIVE,
        progress: Progress | None = None,
    ) -> tuple[Embeddings, SparseEmbeddings]:
        """Unit vectors (prompts, dimension) float32 and sparse weights, both in the order of `prompts`.

        Raises InvalidControl if a control cannot act on the dense vector.
        """
        prepared = self._forward.prepare(prompts, representation, options)
        if any(prompt.factors is not None for prompt in prepared):
            self.support.check(options.target, self.name)
        vectors = np.zeros((len(prepared), self.dimension), dtype=np.float32)
        found: dict[int, SparseVector] = {}

        def read(index: int, text: TokenVectors) -> None:
            pooled = self._dense_head(text.vectors[:1])
            vectors[index] = functional.normalize(pooled, dim=1)[0].cpu().numpy()
            found[index] = self._sparse(text)

        self._forward.run(prepared, options, read, priority=priority, progress=progress)
        sparse = sparse_embeddings(prepared, found)
        return Embeddings(vectors=vectors, token_counts=sparse.token_counts, truncated=sparse.truncated), sparse

    def trace(
        self, prompts: Sequence[Prompt], representation: Representation, *, options: ControlOptions = DEFAULT_OPTIONS
    ) -> list[TokenTrace] | None:
        """None: the dense vector is that of one token, not a mean of token vectors."""
        return None

    def trace_sparse(
        self,
        prompts: Sequence[Prompt],
        representation: Representation,
        terms: Sequence[Int32Array],
        *,
        options: ControlOptions = DEFAULT_OPTIONS,
    ) -> list[SparseTrace]:
        """The activations of `terms` by token, for each prompt: a token activates only the term of its own id."""
        prepared = self._forward.prepare(prompts, representation, options)
        found: dict[int, SparseTrace] = {}

        def read(index: int, text: TokenVectors) -> None:
            own = text.tokens.ids[:, None] == terms[index][None, :]
            found[index] = SparseTrace(
                spans=text.tokens.spans,
                special=text.tokens.special | text.tokens.prefix,
                activations=np.where(own, self._token_weights(text)[:, None], np.float32(0)),
                pooling=TermPooling.MAX,
            )

        self._forward.run(prepared, options, read)
        return [found[index] for index in range(len(prepared))]

    def token(self, id: int) -> str:
        """The vocabulary's name of a token id. Raises InvalidInput for an unknown id."""
        return self.tokenizer.tokens([id])[0]

    def token_spans(self, text: str) -> Int64Array:
        return self.tokenizer.spans(text)

    def overhead(self, representation: Representation) -> int:
        return self._forward.overhead(representation)

    def _sparse(self, text: TokenVectors) -> SparseVector:
        weights = self._token_weights(text)
        ids, place = np.unique(text.tokens.ids, return_inverse=True)
        largest = np.zeros(len(ids), dtype=np.float32)
        np.maximum.at(largest, place, weights)
        weighted = np.flatnonzero(largest)
        return SparseVector(ids=ids[weighted].astype(np.int32), weights=largest[weighted])

    def _token_weights(self, text: TokenVectors) -> Float32Array:
        """(tokens,) float32: each token's weight for the term of its own id."""
        found = self._sparse_head(text.vectors)
        weights: Float32Array = (found if text.factors is None else found * text.factors).cpu().numpy()
        return np.where(np.isin(text.tokens.ids, self._unweighted), np.float32(0), weights)


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseHead:
    """One linear unit followed by ReLU."""

    weight: Tensor  # (1, width)
    bias: Tensor  # (1,)

    def __call__(self, vectors: Tensor) -> Tensor:
        """(tokens, width) -> (tokens,) >= 0."""
        return functional.linear(vectors, self.weight, self.bias).relu()[:, 0]


def load_hybrid(folder: Path, *, name: str | None = None, device: str = "auto") -> HybridModel:
    """Loads a model folder that has a sparse head, `sparse_linear.pt` or `sparse_linear.safetensors`.

    `name`: None for the folder's own; `device` as in embedder.loading.load_encoder. Raises ModelError if the folder,
    its weights or the device cannot be used, or if its dense vector is not that of the first token.
    """
    described = read_model_folder(folder)
    if (folder / "modules.json").is_file() and described.pooling is not Pooling.CLS:
        raise ModelError(f"{folder}: pooling {described.pooling}; a model with a sparse head must be pooled by cls")
    backbone, positions = load_backbone(described, torch_device(device))
    max_tokens = token_limit(described.transformer, positions, described.max_tokens)
    definition, tokenizer = load_tokenizer(described.transformer, max_tokens, lowercase=described.lowercase)
    dense_head = DenseHead(described.dense).to(backbone.device)
    sparse_head, sparse_sha = _load_sparse_head(folder, backbone.width, backbone.device)
    name = name or described.name
    weights = weights_sha256(described.transformer)
    dimension = dense_head.out_features or backbone.width
    return HybridModel(
        name=name,
        fingerprint=fingerprint_of(described, weights, definition, max_tokens, dimension, sparse=sparse_sha),
        forward=Forward(name=name, prefixes=described.prefixes, tokenizer=tokenizer, backbone=backbone),
        dense_head=dense_head,
        sparse_head=sparse_head,
        unweighted=_unweighted(described.transformer, tokenizer),
    )


def _load_sparse_head(folder: Path, width: int, device: torch.device) -> tuple[SparseHead, str]:
    """The head and the sha256 (hex) of its file."""
    file = folder / "sparse_linear.safetensors"
    try:
        if file.is_file():
            stored = load_file(file, device=str(device))
        else:
            file = folder / "sparse_linear.pt"
            stored = torch.load(file, map_location=device, weights_only=True)  # tensors only: no code is executed
        head = SparseHead(weight=stored["weight"].float(), bias=stored["bias"].float())
    except (
        OSError,
        RuntimeError,
        EOFError,
        KeyError,
        TypeError,
        AttributeError,
        pickle.UnpicklingError,
        SafetensorError,
    ) as error:
        raise ModelError(f"{file}: {error}") from error
    if head.weight.shape != (1, width) or head.bias.shape != (1,):
        raise ModelError(f"{file}: must hold one linear unit over {width} inputs, not {tuple(head.weight.shape)}")
    return head, hashlib.sha256(file.read_bytes()).hexdigest()


def _unweighted(folder: Path, tokenizer: TextTokenizer) -> frozenset[int]:
    config = json_object(folder / "special_tokens_map.json") | json_object(folder / "tokenizer_config.json")
    values = [config.get(name) for name in _UNWEIGHTED]
    names = [value.get("content") if isinstance(value, dict) else value for value in values]
    vocabulary = tokenizer.vocabulary()
    return frozenset(vocabulary[name] for name in names if name in vocabulary)
