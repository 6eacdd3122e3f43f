"""What the writers write: made from a seed alone, so that the parent knows what a killed child was at."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from core.records import CollectionSettings, Document, FieldKind, IndexKind

COLLECTIONS = ("books", "songs")
STREAMS = (0, 1, 2)  # each has document ids, and a thread, of its own; all of them write to all collections
IDS = 40  # documents of a stream in a collection
JOB_BATCH = 4  # documents of a job that are committed together
_FIELDS = {"tag": FieldKind.TEXT, "year": FieldKind.NUMBER}
SETTINGS = {
    "books": CollectionSettings(language="en", passage_tokens=6, overlap_tokens=0, fields=_FIELDS),
    "songs": CollectionSettings(
        language="en", passage_tokens=6, overlap_tokens=0, fields=_FIELDS, k1=0.9, b=0.4, index=IndexKind.HNSW
    ),
}
KINDS = ("put", "update", "delete", "job", "overtaken")
_SHARES = (50, 12, 12, 5, 2)
_WORDS = 150  # of the vocabulary
_TAGS = ("red", "green", "blue")

Effect = dict[str, Document | None]  # what a transaction leaves of the documents that it writes; None: deleted


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One write that is acknowledged as a whole. `effects`: of its transactions, one after the other."""

    stream: int
    number: int
    kind: str
    collection: str
    effects: tuple[Effect, ...]

    def documents(self, effect: int = 0) -> list[Document]:
        return [document for document in self.effects[effect].values() if document is not None]

    @property
    def queued(self) -> list[Document]:
        """The documents of the job."""
        return [document for number in range(self.batches) for document in self.documents(number)]

    @property
    def batches(self) -> int:
        """How many of the transactions are those of a job: once it is queued, they follow."""
        return {"job": len(self.effects), "overtaken": len(self.effects) - 1}.get(self.kind, 0)


def operation(seed: int, stream: int, number: int) -> Operation:
    chance = random.Random(f"{seed}/{stream}/{number}")
    kind = chance.choices(KINDS, _SHARES)[0]
    ids = [f"{stream}-{place}" for place in range(IDS)]
    if kind == "delete":
        effects: tuple[Effect, ...] = (dict.fromkeys(chance.sample(ids, chance.randint(1, 3))),)
    elif kind in ("put", "update"):
        same_text = kind == "update"  # of a revision that came up before, mostly: then only the metadata is another
        count = 20 if chance.random() < 0.03 else chance.randint(1, 4)
        effects = (_effect(_document(chance, id, number, same_text) for id in chance.sample(ids, count)),)
    else:
        documents = [_document(chance, id, number, False) for id in chance.sample(ids, chance.randint(3, 14))]
        parts = [documents[start : start + JOB_BATCH] for start in range(0, len(documents), JOB_BATCH)]
        effects = tuple(_effect(part) for part in parts)
        if kind == "overtaken":  # what somebody else writes while a worker sleeps over the first batch
            newer = _text(chance, [f"newer{number}"])
            effects += (_effect([Document(id=documents[0].id, text=newer, metadata={"rev": number, "year": 2000})]),)
    collection = chance.choice(COLLECTIONS)
    return Operation(stream=stream, number=number, kind=kind, collection=collection, effects=effects)


def sentences(text: str) -> list[tuple[int, str]]:
    """(start, sentence) of each: the passages of a text, under the settings above. The space behind belongs to it."""
    found, start = [], 0
    for sentence in text.split(". "):
        whole = sentence if start + len(sentence) == len(text) else sentence + ". "
        found.append((start, whole))
        start += len(whole)
    return found


def words(sentence: str) -> list[str]:
    """The terms of a sentence, each as often as it occurs."""
    return sentence.strip().rstrip(".").lower().split()


def _effect(documents: Iterable[Document]) -> Effect:
    return {document.id: document for document in documents}


def _document(chance: random.Random, id: str, number: int, same_text: bool) -> Document:
    text = _text(random.Random(id)) if same_text else _text(chance, [f"u{number}"] if chance.random() < 0.5 else [])
    metadata = {"rev": number, "tag": chance.choice(_TAGS), "year": chance.randint(1990, 2020)}
    return Document(id=id, text=text, title="", metadata=metadata)


def _text(chance: random.Random, unique: list[str] | None = None) -> str:
    """One to four sentences of five words. Those without a word of their own come up in other documents, too."""
    made = []
    for _ in range(chance.randint(1, 4)):
        source = chance if unique else random.Random(chance.randrange(200))
        picked = [f"kx{int(source.triangular(0, _WORDS, 0))}" for _ in range(5 - len(unique or []))] + (unique or [])
        made.append(" ".join(picked).capitalize() + ".")
    return " ".join(made)
