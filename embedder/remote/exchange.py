"""Sends lists of prompts to a remote in concurrent batches, and checks that all answers come from the same model."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field, replace

import numpy as np

from core.context import check_awaited, models_read
from core.errors import InvalidInput, RemoteError, RemoteMismatch, RemoteRefused, RemoteUnavailable
from core.prompts import ControlOptions, ImageItem, Prompt, TextItem, TokenIdsItem
from core.protocols import Priority, Progress
from core.records import Float32Array, Representation
from embedder.remote.answers import Answer
from embedder.remote.config import RemoteConfig
from embedder.remote.identity import PROBE, PROBE_TEXT, Identity
from embedder.remote.tokens import TokenCounter, batches
from embedder.remote.transport import LOOK_SECONDS, Call, Transport
from embedder.remote.wire import Wire

_MARGIN_BYTES = 4096  # of a request, for everything but its prompts
_ITEM_BYTES = 200  # of JSON around an item, a generous estimate
_ID_BYTES = 12  # a token id, a comma, a blank
_INPUT_STATUSES = (400, 403, 413, 422, 451)  # with which services, or filters before them, may reject a text or image
# A remote's token count is believed up to so many times the estimate (a byte-level vocabulary has four tokens where the
# estimate has one), and in any case up to so many tokens per prompt: images and a remote's own instructions are not
# part of the estimate.
_BELIEVED_TIMES = 8
_BELIEVED_TOKENS = 4096
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class SizedPrompt:
    """A prompt that fits the model, and its size."""

    prompt: Prompt
    tokens: int  # number of tokens that the model reads, counted or estimated
    overhead: int  # how many of them are special tokens or belong to the prefix
    truncated: bool  # whether the prompt was cut to fit


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodingTask:
    """How a list of prompts is to be embedded."""

    representation: Representation
    options: ControlOptions = field(default_factory=ControlOptions)
    priority: Priority = Priority.INTERACTIVE
    sparse: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The embeddings of a batch of prompts."""

    vectors: Float32Array  # (prompts, dimension), unit length
    sparse: Sequence[Mapping[str, float]]  # weights by token; empty if not requested
    tokens: Sequence[int]  # number of tokens of each prompt
    truncated: Sequence[bool]  # whether the prompt was cut: before it was sent, or by the remote, if it reports that


class Exchange:
    """Embeds prompts with one remote. Thread-safe.

    Every method may raise RemoteError, and Abandoned: nothing is sent once nobody waits for the answer any more.
    """

    def __init__(
        self,
        config: RemoteConfig,
        name: str,
        *,
        wire: Wire,
        transport: Transport,
        counter: TokenCounter,
    ) -> None:
        self._config = config
        self._name = name
        self._wire = wire
        self._transport = transport
        self._known: Identity | None = None
        self._doubted = False  # whether an implausible token count has been logged
        self._asking = threading.Lock()
        self._ingest_turns = threading.BoundedSemaphore(config.concurrency)
        probe_tokens = len(counter.spans(PROBE_TEXT)) + counter.special_tokens
        overhead = counter.special_tokens
        self._probe = SizedPrompt(prompt=PROBE, tokens=probe_tokens, overhead=overhead, truncated=False)

    def identity(self, call: Call | None = None) -> Identity:
        """The remote's identity. The first caller asks for it, once; others wait until then, or until `call` ends."""
        if self._known is None:
            call = self._call() if call is None else call
            if not self._asking.acquire(timeout=max(0.0, call.ends_at - self._transport.clock())):
                raise RemoteUnavailable(f"model {self._name}: {self._config.host} has not yet said which model it has")
            try:
                if self._known is None:
                    answer = self._ask_probe(EncodingTask(representation=Representation.SYMMETRIC), call)
                    self._known = Identity(self._config, self._name, answer, clock=self._transport.clock)
            finally:
                self._asking.release()
        return self._known

    def ask(self, items: Sequence[SizedPrompt], task: EncodingTask, progress: Progress | None) -> list[Part]:
        """The embeddings of the prompts, batch by batch, in their order. The first failure ends all batches.

        Raises InvalidInput with the `index` of a prompt that the remote rejects, and RemoteMismatch with an `index` if
        the remote returns no proper vector for that prompt, but does for the probe.
        """
        call = self._call()
        ranges = self._batches(items)
        if len(ranges) == 1:
            part = self._turn(items, task, call)
            _tell(progress, len(items))
            return [part]
        with ThreadPoolExecutor(max_workers=self._config.concurrency) as pool:
            futures = {
                pool.submit(copy_context().run, self._some, items, each, task, call): len(each) for each in ranges
            }
            try:
                for future in as_completed(futures):
                    future.result()
                    _tell(progress, futures[future])
            except BaseException:
                call.stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        return [future.result() for future in futures]

    def _some(self, items: Sequence[SizedPrompt], which: range, task: EncodingTask, call: Call) -> Part:
        with _shifted(which.start):
            return self._turn(items[which.start : which.stop], task, call)

    def _turn(self, items: Sequence[SizedPrompt], task: EncodingTask, call: Call) -> Part:
        """Embeds one batch. Ingest waits for its turn, and its time runs from then; a query's runs from its call."""
        if task.priority is Priority.INTERACTIVE:
            return self._batch(items, task, call)
        while not self._ingest_turns.acquire(timeout=LOOK_SECONDS):
            check_awaited()
        try:
            return self._batch(items, task, replace(call, ends_at=self._transport.deadline()))
        finally:
            self._ingest_turns.release()

    def _batch(self, items: Sequence[SizedPrompt], task: EncodingTask, call: Call) -> Part:
        """Embeds one batch. Raises InvalidInput if one of the items is at fault.

        An item is at fault if the remote refuses it without other items, but accepts the probe with the same task.
        """
        check_awaited()
        try:
            part = self._whole(items, task, call)
        except RemoteRefused as error:
            if error.status not in _INPUT_STATUSES:
                raise
            self._ask_probe(replace(task, options=ControlOptions()), call)
            part = self._halves(items, error, task, call)
        models_read(sum(part.tokens))  # counted once, even if items were sent again
        return part

    def _halves(self, items: Sequence[SizedPrompt], refusal: RemoteRefused, task: EncodingTask, call: Call) -> Part:
        """Embeds refused items in smaller batches, bisecting down to the one at fault.

        If none is at fault, the remote accepts less at once than its settings say, and the smaller batches succeed.
        """
        if len(items) == 1:
            if task.priority is not Priority.INTERACTIVE:  # it was refused together with the probe
                refusal = self._refusal_alone(items, refusal, task, call)
            with InvalidInput.indexed(0):
                raise InvalidInput(refusal.message) from refusal
        middle = len(items) // 2
        parts = []
        for start, half in ((0, items[:middle]), (middle, items[middle:])):
            if task.priority is not Priority.INTERACTIVE:  # as in `_turn`: each request of ingest has its full time
                call = replace(call, ends_at=self._transport.deadline())
            with _shifted(start):
                try:
                    parts.append(self._whole(half, task, call))
                except RemoteRefused as error:
                    if error.status not in _INPUT_STATUSES:
                        raise
                    parts.append(self._halves(half, error, task, call))
        first, second = parts
        return Part(
            vectors=np.concatenate([first.vectors, second.vectors]),
            sparse=[*first.sparse, *second.sparse],
            tokens=[*first.tokens, *second.tokens],
            truncated=[*first.truncated, *second.truncated],
        )

    def _refusal_alone(
        self, items: Sequence[SizedPrompt], refusal: RemoteRefused, task: EncodingTask, call: Call
    ) -> RemoteRefused:
        """The remote's refusal of the single item without the probe.

        Raises `refusal` if it accepts the item then: it only takes less at once than its settings say.
        """
        try:
            self._ask(items, task, call)
        except RemoteRefused as error:
            if error.status not in _INPUT_STATUSES:
                raise
            return error
        raise refusal

    def _whole(self, items: Sequence[SizedPrompt], task: EncodingTask, call: Call) -> Part:
        """Embeds the items in one request. A RemoteMismatch has an `index` only if the probe's vector is sound."""
        identity = self.identity(call)
        # Stored vectors must all come from one model, so every batch of ingest carries the probe.
        probed = task.priority is not Priority.INTERACTIVE or identity.due
        sent = [*items, self._probe] if probed else items
        try:
            answer = self._ask(sent, task, call)
        except RemoteMismatch as error:
            if error.index == len(items):
                error.index = None
            elif error.index is not None and not probed:
                self._ask_probe(replace(task, options=ControlOptions()), call)
            raise
        identity.check(answer, task.representation, answer.vectors[-1] if probed else None)
        counts = [item.tokens for item in sent]
        if self._config.tokenizer is None and answer.tokens is not None:
            left_out = 0 if self._wire.counts_overhead else sum(item.overhead for item in sent)
            counts = spread(answer.tokens + left_out, counts)
        size = len(items)
        return Part(
            vectors=answer.vectors[:size],
            sparse=answer.sparse[:size],
            tokens=counts[:size],
            truncated=[item.truncated or index in answer.truncated for index, item in enumerate(items)],
        )

    def _ask_probe(self, task: EncodingTask, call: Call) -> Answer:
        """Sends the probe alone. Its errors have no `index`: whatever is wrong is the remote's fault."""
        try:
            return self._ask([self._probe], task, call)
        except RemoteMismatch as error:
            error.index = None
            raise

    def _ask(self, items: Sequence[SizedPrompt], task: EncodingTask, call: Call) -> Answer:
        request = self._wire.request(
            [item.prompt for item in items],
            task.representation,
            task.options,
            nice=task.priority is not Priority.INTERACTIVE,
            sparse=task.sparse,
        )
        estimate = sum(item.tokens for item in items)
        payload = self._transport.post(request, call, tokens=estimate)
        try:
            answer = self._wire.read(payload, len(items), sparse=task.sparse)
        except RemoteError as error:
            error.args = (f"model {self._name}: {self._config.host}: {error.message}",)
            raise
        if answer.tokens is not None and answer.tokens > _believed(items):
            if not self._doubted:
                _log.warning("model %s: %s counts more tokens than can be", self._name, self._config.host)
                self._doubted = True
            answer = replace(answer, tokens=None)
        if answer.tokens is not None:
            self._transport.quota.settle(estimate, answer.tokens)
        return answer

    def _batches(self, items: Sequence[SizedPrompt]) -> list[range]:
        """Splits the items into batches within the remote's limits, with room left for the probe."""
        tokens = int(min(self._config.batch_tokens, self._transport.quota.token_capacity))
        return batches(
            [item.tokens for item in items],
            [_bytes_of(item.prompt) for item in items],
            items=self._config.batch_items - 1,
            tokens_each=tokens - self._probe.tokens,
            bytes_each=self._wire.max_body_bytes - _MARGIN_BYTES,
        )

    def _call(self) -> Call:
        return Call(ends_at=self._transport.deadline(), stop=threading.Event())


def _believed(items: Sequence[SizedPrompt]) -> int:
    """The largest token count for the items that is believed; what a remote reports above it is ignored."""
    return sum(max(_BELIEVED_TIMES * item.tokens, _BELIEVED_TOKENS) for item in items)


@contextmanager
def _shifted(start: int) -> Iterator[None]:
    """Turns the `index` of errors from that in a batch to that in the list, in which the batch begins at `start`."""
    try:
        yield
    except (InvalidInput, RemoteMismatch) as error:
        if error.index is not None:
            error.index += start
        raise


def spread(total: int, estimates: Sequence[int]) -> list[int]:
    """Divides `total` in proportion to the estimates; the shares are whole numbers and sum to it.

    Each share is the growth of the rounded running sum, so that rounding errors do not add up.
    """
    running = np.cumsum(np.asarray(estimates, dtype=np.float64))
    if running[-1] == 0:
        running = np.arange(1, len(estimates) + 1, dtype=np.float64)
    shares: list[int] = np.diff(np.rint(running * (total / running[-1])), prepend=0).astype(np.int64).tolist()
    return shares


def _tell(progress: Progress | None, count: int) -> None:
    if progress is not None:
        progress(count)


def _bytes_of(prompt: Prompt) -> int:
    """The size of the prompt in a request, without its prefix; estimated from above."""
    return sum(_item_bytes(item) for item in prompt.items)


def _item_bytes(item: TextItem | TokenIdsItem | ImageItem) -> int:
    controls = _ITEM_BYTES * len(item.controls)
    match item:
        case TextItem():
            size = len(json.dumps(item.text, ensure_ascii=False).encode("utf-8", errors="replace"))
        case TokenIdsItem():
            size = _ID_BYTES * len(item.ids)
        case ImageItem():
            size = 4 * (len(item.data) // 3 + 1)
    return size + controls + _ITEM_BYTES
