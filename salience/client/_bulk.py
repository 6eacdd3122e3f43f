"""Encodes documents as gzipped NDJSON while they are sent, with only one chunk in memory.

The same documents give the same bytes, so that a repeated request is recognised by its idempotency key.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from salience.client._json import encoded

Documents = Iterable[Mapping[str, Any]]
AsyncDocuments = AsyncIterable[Mapping[str, Any]]
Source = TypeVar("Source")

_GZIP = 31  # zlib's wbits for a gzip header, which then has no timestamp
_LEVEL = 1  # on text, a third of the default level's time for a tenth more bytes
CHUNK_BYTES = 64 * 1024


@dataclass(slots=True)
class BulkBody(Generic[Source]):
    """The documents of one request. Documents from a list, or from a function that returns them, can be sent again."""

    documents: Source | Callable[[], Source]
    begun: bool = False
    error: Exception | None = None  # raised by the source of the documents, which ended the request

    @property
    def repeatable(self) -> bool:
        """Whether the documents can be sent (again)."""
        return not self.begun or callable(self.documents) or not isinstance(self.documents, Iterator | AsyncIterator)

    def chunks(self) -> Iterator[bytes]:
        """The encoded documents, in chunks. Raises ValueError for a document that is not a JSON object."""
        lines = _Lines()
        with self._noting():
            for document in cast(Documents, self._source()):
                if chunk := lines.add(document):
                    yield chunk
        yield lines.end()

    async def chunks_async(self) -> AsyncIterator[bytes]:
        """The same for documents from an iterable or an async iterable."""
        source = self._source()
        lines = _Lines()
        with self._noting():
            async for document in _async(source):
                if chunk := lines.add(document):
                    yield chunk
        yield lines.end()

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Remember an error of the source, to tell it from connection errors: it is the caller's."""
        try:
            yield
        except Exception as error:
            self.error = error
            raise

    def _source(self) -> Source:
        self.begun = True
        return self.documents() if callable(self.documents) else self.documents


def plain(document: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The document as a dict. `number`: its place in the request, from 1. Raises ValueError unless it is a mapping."""
    if not isinstance(document, Mapping):
        raise ValueError(f"document {number} is of type {type(document).__name__}; documents are mappings")
    return dict(document)


async def _async(source: Any) -> AsyncIterator[Mapping[str, Any]]:
    """The documents of an iterable or async iterable."""
    if isinstance(source, AsyncIterable):
        async for document in source:
            yield document
    else:
        for document in source:
            yield document


class _Lines:
    """Compresses documents one by one, as lines of JSON."""

    def __init__(self) -> None:
        self._gzip = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._ready = bytearray()
        self._count = 0

    def add(self, document: Mapping[str, Any]) -> bytes:
        """Add a document. Returns the bytes that are ready to be sent: often none, else CHUNK_BYTES or more."""
        self._count += 1
        line = encoded(plain(document, self._count), f"document {self._count}")
        self._ready += self._gzip.compress(line + b"\n")
        if len(self._ready) < CHUNK_BYTES:
            return b""
        chunk = bytes(self._ready)
        self._ready.clear()
        return chunk

    def end(self) -> bytes:
        return bytes(self._ready) + self._gzip.flush()
