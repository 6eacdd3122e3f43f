"""What must be there: kept by the parent, from what the children said before they died."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from core.prompts import Prompt
from core.records import Document, Float64Array, Representation
from tests.crash.workload import COLLECTIONS, STREAMS, Effect, Operation, operation, sentences, words
from tests.indexer.fakes import FakeEncoder

Documents = dict[str, Document]
State = dict[str, Documents]  # by collection


@dataclass(frozen=True, kw_only=True)
class Passage:
    """As the oracle expects it, made from the document's text alone."""

    document_id: str
    start: int
    text: str


@dataclass
class _Stream:
    """What is known of one writer."""

    number: int = 0  # of the next operation; those before are acknowledged
    documents: State = field(default_factory=lambda: {name: {} for name in COLLECTIONS})
    begun: Operation | None = None  # not acknowledged yet
    queued: bool = False  # its job is acknowledged


class Oracle:
    """Told line by line what a child said; then asked whether what is found in its data directory can be."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.acknowledged = 0
        self.created: set[str] = set()  # collections
        self.backups: set[str] = set()  # names
        self.began_backups: dict[str, tuple[int, ...]] = {}  # operations acknowledged by then, of each stream
        self._streams = [_Stream() for _ in STREAMS]

    @property
    def next_operations(self) -> list[int]:
        return [stream.number for stream in self._streams]

    def hear(self, *line: str) -> None:
        match line:
            case ("CREATED", name):
                self.created.add(name)
            case ("BEGIN", stream, number):
                self._streams[int(stream)].begun = operation(self.seed, int(stream), int(number))
                self._streams[int(stream)].queued = False
            case ("QUEUED", stream, _):
                self._streams[int(stream)].queued = True
                self.acknowledged += 1
            case ("DONE", stream, number):
                self._done(self._streams[int(stream)], int(number))
                self.acknowledged += 1
            case ("BACKING", name):
                self.began_backups[name] = tuple(self.next_operations)
            case ("BACKED", name):
                self.backups.add(name)
                self.acknowledged += 1
            case _:
                raise ValueError(f"a child said {line}")

    def settle(self, found: State, *, drained: bool) -> list[str]:
        """What is wrong with the documents that were found, whatever their passages. `drained`: no job waits.

        What became of writes that were begun is taken as it is found, as long as it can be: from then on it must stay.
        """
        problems = []
        for index, stream in enumerate(self._streams):
            own = _of_stream(found, index)
            if own not in self._possible(stream, drained=drained):
                problems.append(f"stream {index}: {_problem(own, stream)}")
            elif drained:
                stream.documents = own
        return problems

    def expected(self) -> State:
        """All documents, after `settle`."""
        return {
            name: {id: document for stream in self._streams for id, document in stream.documents[name].items()}
            for name in COLLECTIONS
        }

    def backup_can_be(self, found: State, name: str) -> list[str]:
        """What is wrong with the documents of a backup: each stream's must be those after one of its transactions."""
        problems = []
        for index, stream in enumerate(self._streams):
            own, state = _of_stream(found, index), self._history(index, self.began_backups[name][index])
            numbers = range(self.began_backups[name][index], stream.number + 1)
            possible = [state]
            for number in numbers:
                written = operation(self.seed, index, number)
                for effect in written.effects:
                    state = _after(state, written.collection, effect)
                    possible.append(state)
            if own not in possible:
                wrong = _few(map(str, _differences(own, possible[0])))
                problems.append(f"{name}: stream {index} is in a state that never was; against the first: {wrong}")
        return problems

    def _history(self, stream: int, count: int) -> State:
        """The documents after so many of the stream's operations."""
        state: State = {name: {} for name in COLLECTIONS}
        for number in range(count):
            written = operation(self.seed, stream, number)
            for effect in written.effects:
                state[written.collection] = _after(state, written.collection, effect)[written.collection]
        return state

    def _done(self, stream: _Stream, number: int) -> None:
        assert stream.begun is not None
        assert stream.begun.number == number
        for effect in stream.begun.effects:
            stream.documents = _after(stream.documents, stream.begun.collection, effect)
        stream.begun, stream.number = None, number + 1

    def _possible(self, stream: _Stream, *, drained: bool) -> Iterator[State]:
        """The states that may be found, given what was acknowledged."""
        states, begun = [stream.documents], stream.begun
        if begun is not None:
            for effect in begun.effects:
                states.append(_after(states[-1], begun.collection, effect))
            if drained and begun.batches:  # either it was never queued, or all of the job is there
                states = ([] if stream.queued else states[:1]) + states[begun.batches :]
        yield from states


def passages_of(documents: Mapping[str, Document]) -> list[Passage]:
    return [
        Passage(document_id=document.id, start=start, text=text)
        for document in documents.values()
        for start, text in sentences(document.text)
    ]


def dense_scores(passages: list[Passage], query: Float64Array) -> Float64Array:
    """(passages,) the dot product with every passage's vector."""
    return np.array([_vector(passage.text) for passage in passages]) @ query


def bm25_scores(passages: list[Passage], terms: list[str], *, k1: float, b: float) -> list[float]:
    """Of every passage, straight from the formula."""
    texts = [words(passage.text) for passage in passages]
    average = sum(map(len, texts)) / len(texts)
    df = {term: sum(term in text for text in texts) for term in terms}
    idf = {term: math.log(1 + (len(texts) - count + 0.5) / (count + 0.5)) for term, count in df.items() if count}
    return [
        sum(idf[term] * tf / (tf + k1 * (1 - b + b * len(text) / average)) for term in idf if (tf := text.count(term)))
        for text in texts
    ]


@lru_cache(maxsize=20_000)
def _vector(text: str) -> Float64Array:
    vector: Float64Array = FakeEncoder().encode([Prompt.of(text)], Representation.DOCUMENT).vectors[0].astype(float)
    return vector


def _of_stream(state: State, stream: int) -> State:
    return {
        name: {id: document for id, document in state.get(name, {}).items() if id.startswith(f"{stream}-")}
        for name in COLLECTIONS
    }


def _after(state: State, collection: str, effect: Effect) -> State:
    documents = dict(state[collection])
    for id, document in effect.items():
        if document is None:
            documents.pop(id, None)
        else:
            documents[id] = document
    return {**state, collection: documents}


def _problem(found: State, stream: _Stream) -> str:
    """What is wrong with a stream's documents, which are in no state that can be."""
    begun = stream.begun
    touched = set() if begun is None else {(begun.collection, id) for effect in begun.effects for id in effect}
    wrong = _differences(found, stream.documents)
    lost = [f"{name}/{id} {how}" for name, id, how in wrong if (name, id) not in touched]
    if lost:
        return f"lost: {_few(lost)}"
    number = None if begun is None else begun.number
    if stream.queued and not wrong:
        return f"lost: the job of operation {number}"
    return f"half: operation {number}, which alone is not acknowledged: {_few(map(str, wrong))}"


def _differences(found: State, expected: State) -> list[tuple[str, str, str]]:
    """(collection, document id, what is wrong)"""
    return [
        (name, id, "is missing" if id not in found[name] else "is there" if id not in expected[name] else "is another")
        for name in COLLECTIONS
        for id in sorted(found[name].keys() | expected[name].keys())
        if found[name].get(id) != expected[name].get(id)
    ]


def _few(items: Iterable[str]) -> str:
    listed = list(items)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
