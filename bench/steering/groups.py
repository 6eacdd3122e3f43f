"""Load the texts of the steering benchmark: fashion products, book titles, and answers to questions."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

GROUPS = ("fashion", "titles", "questions")


@dataclass(frozen=True, kw_only=True, slots=True)
class Aspect:
    """One of the two things that a query names."""

    start: int  # position of its first character in the query
    length: int  # characters
    documents: tuple[str, ...]  # ids of the documents that mention this aspect and not the other


@dataclass(frozen=True, kw_only=True, slots=True)
class SteeredQuery:
    """A query with its two aspects, in the order of the data file."""

    text: str
    aspects: tuple[Aspect, Aspect]
    both: tuple[str, ...]  # ids of the documents that mention both aspects
    neither: tuple[str, ...]  # ids of those that mention neither


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Documents by id, and the queries over them."""

    name: str
    documents: dict[str, str]
    queries: tuple[SteeredQuery, ...]


def load_group(name: str) -> Group:
    """Load one of GROUPS.

    Raises ValueError where an aspect's words do not occur exactly once in their query, or a document id is unknown,
    duplicate, or in both aspects of a query.
    """
    data = json.loads((Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8"))
    documents = {document["id"]: document["text"] for document in data["documents"]}
    if len(documents) != len(data["documents"]):
        raise ValueError(f"{name}.json: a document id occurs twice")
    queries = []
    for query in data["queries"]:
        first, second = (
            _aspect(query["text"], aspect["words"], tuple(aspect["documents"])) for aspect in query["aspects"]
        )
        ids = first.documents + second.documents
        if len(set(ids)) != len(ids) or not documents.keys() >= set(ids):
            raise ValueError(f"{name}.json: query {query['text']!r} has an unknown document, or one of both aspects")
        words = [aspect["words"].casefold().rstrip("s") for aspect in query["aspects"]]
        named = {id: sum(word in text.casefold() for word in words) for id, text in documents.items()}
        queries.append(
            SteeredQuery(
                text=query["text"],
                aspects=(first, second),
                both=tuple(id for id, count in named.items() if count == 2),
                neither=tuple(id for id, count in named.items() if count == 0),
            )
        )
    return Group(name=name, documents=documents, queries=tuple(queries))


def _aspect(query: str, words: str, documents: tuple[str, ...]) -> Aspect:
    found = [match.start() for match in re.finditer(rf"\b{re.escape(words)}\b", query)]
    if len(found) != 1:
        raise ValueError(f"query {query!r} holds {words!r} {len(found)} times, expected once")
    return Aspect(start=found[0], length=len(words), documents=documents)
