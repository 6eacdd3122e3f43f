"""Cross-encoder rerankers, which read a query and a document together and score the document's relevance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from core.context import models_read
from core.errors import ModelError
from core.protocols import Priority
from core.records import Relevance
from embedder.batching import batch_tokens, token_budget_batches
from embedder.beginning import beginning
from embedder.fingerprints import fingerprint_of
from embedder.generic import position_limit
from embedder.loading import torch_device
from embedder.modelfolder import ModelFolder, json_object, read_model_folder, token_limit, weights_sha256
from embedder.modelqueue import ModelQueue
from embedder.pretrained import input_names, load_pretrained
from embedder.scheduling import scheduler_of

_TASK = "sequence-classification"
_ACTIVATIONS = ("Sigmoid", "Identity")  # classes of torch.nn; with both, the score is the sigmoid of the logit


class CrossEncoder:
    """A sequence classifier with one logit. Fulfils core.protocols.Reranker; thread-safe.

    A score is the logistic sigmoid of the logit, 0 to 1, even if the model's own configuration leaves the logit
    unchanged (Identity): the order is the same, and all rerankers share one scale.
    """

    def __init__(
        self,
        *,
        name: str,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        typed: bool,
        max_tokens: int,
        fingerprint: str,
    ) -> None:
        """`tokenizer` neither pads nor truncates. `typed`: whether the network takes token type ids."""
        self.name = name
        self.fingerprint = fingerprint
        self.max_tokens = max_tokens
        self._model = model
        self._whole = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer = tokenizer
        self._tokenizer.enable_truncation(max_tokens, strategy="longest_first")
        self._typed = typed
        self._pad = getattr(model.config, "pad_token_id", None)
        self._queue = ModelQueue(scheduler_of(model.device))
        self.observe = self._queue.observe  # as in core.protocols.Observable
        self.waiting = self._queue.waiting
        self._batch_tokens = batch_tokens(model.device)

    def rerank(self, query: str, documents: Sequence[str]) -> Relevance:
        """The relevance of each document to the query, in the given order.

        Pairs of more than `max_tokens` tokens are truncated, the longer text first. Raises Abandoned between two
        batches if nobody waits for the answer any more.
        """
        encodings = self._encodings(query, documents)
        scores = np.zeros(len(documents))
        priority = Priority.INTERACTIVE  # somebody always waits for a reranker's answer
        budget = self._batch_tokens if self._pad is not None else 1  # without a padding token, one pair at a time
        counts = [len(encoding.ids) for encoding in encodings]
        with self._queue.staying(priority), torch.inference_mode():
            for batch in token_budget_batches(counts, lambda: self._queue.room(budget, priority)):
                tokens = sum(counts[i] for i in batch)
                with self._queue.turn(priority, texts=len(batch), tokens=tokens):
                    logits = self._logits([encodings[i] for i in batch])
                models_read(tokens)
                scores[batch] = torch.sigmoid(logits.double()).cpu().numpy()
        truncated = np.array([bool(encoding.overflowing) for encoding in encodings], dtype=np.bool_)
        return Relevance(scores=scores, token_counts=np.array(counts, dtype=np.int64), truncated=truncated)

    def _encodings(self, query: str, documents: Sequence[str]) -> list[Encoding]:
        asked = self._beginning(query)
        return self._tokenizer.encode_batch([(asked, self._beginning(document)) for document in documents])

    def _beginning(self, text: str) -> str:
        """The beginning of a text that has more tokens than are read, or all of it."""
        return beginning(text, self.max_tokens, lambda part: len(self._whole.encode(part, add_special_tokens=False)))

    def _logits(self, members: Sequence[Encoding]) -> Tensor:
        """(pairs,) the logits of one batch, padded on the right."""
        longest = max(len(member.ids) for member in members)
        ids = np.full((len(members), longest), 0 if self._pad is None else self._pad, dtype=np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for row, member in enumerate(members):
            length = len(member.ids)
            ids[row, :length], mask[row, :length], types[row, :length] = member.ids, 1, member.type_ids
        inputs = {"input_ids": ids, "attention_mask": mask} | ({"token_type_ids": types} if self._typed else {})
        tensors = {name: torch.from_numpy(values).to(self._model.device) for name, values in inputs.items()}
        logits: Tensor = self._model(**tensors).logits
        return logits[:, 0]


def load_reranker(folder: Path, *, name: str | None = None, device: str = "auto") -> CrossEncoder:
    """Loads the cross-encoder of a Hugging Face or sentence-transformers folder, under `name` (None: its own name).

    `device`: "auto" (CUDA if available), "cpu", "cuda" or "cuda:N". Raises ModelError if the folder, its weights or
    the device cannot be used, or if the classifier has more than one label.
    """
    described = read_model_folder(folder, task=_TASK)
    activation = _activation(folder, described)
    model = _load_network(described.transformer, torch_device(device))
    max_tokens = token_limit(described.transformer, position_limit(model.config), described.max_tokens)
    file = described.transformer / "tokenizer.json"
    try:
        definition = file.read_text(encoding="utf-8")
        tokenizer = Tokenizer.from_str(definition)
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise ModelError(f"{file}: {error}") from error
    inputs = input_names(described.transformer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    weights = weights_sha256(described.transformer)
    return CrossEncoder(
        name=name or described.name,
        model=model,
        tokenizer=tokenizer,
        typed="token_type_ids" in inputs,
        max_tokens=max_tokens,
        fingerprint=fingerprint_of(described, weights, definition, max_tokens, 1, activation=activation),
    )


def _load_network(folder: Path, device: torch.device) -> PreTrainedModel:
    labels = len(json_object(folder / "config.json").get("id2label") or range(2))
    if labels != 1:
        raise ModelError(f"{folder}: the classifier has {labels} labels; a reranker has one, the relevance")
    network = AutoModelForSequenceClassification
    return load_pretrained(network, folder, device, lacking="they hold no trained cross-encoder")


def _activation(folder: Path, described: ModelFolder) -> str:
    """The activation that the folder names, Sigmoid (the default) or Identity: both keep the order of the logits.

    Raises ModelError for any other, and for a model with a default prompt.
    """
    saved = json_object(folder / "config_sentence_transformers.json")
    if saved.get("default_prompt_name"):
        raise ModelError(f"{folder}: a cross-encoder with a prompt of its own is not supported")
    config = json_object(described.transformer / "config.json")
    named = (
        saved.get("activation_fn")
        or (config.get("sentence_transformers") or {}).get("activation_fn")
        or config.get("sbert_ce_default_activation_function")
        or "torch.nn.modules.activation.Sigmoid"
    )
    activation = str(named).rpartition(".")[2]
    if activation not in _ACTIVATIONS:
        raise ModelError(f"{folder}: activation {named} is not supported; supported are {' and '.join(_ACTIVATIONS)}")
    return activation
