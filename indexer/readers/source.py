"""Read records from a path or stream: walk folders, decompress gzip, choose a reader, turn failures into values."""

from __future__ import annotations

import difflib
import gzip
import io
import os
import stat
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from core.errors import TooLarge, UnreadableFile
from indexer.readers import files, tables
from indexer.readers.encoding import SAMPLE_BYTES, Decoder
from indexer.readers.formats import EXTENSIONS, Format, extension, sniff
from indexer.records import Origin, Record, RecordError, Skipped

_Reader = Callable[[io.BufferedReader, bytes, Origin, Decoder], Iterator[Record | RecordError]]
_OnGuess = Callable[[str, str], object]
_READERS: dict[Format, _Reader] = {
    Format.JSON: tables.read_json,
    Format.CSV: tables.read_csv,
    Format.TSV: tables.read_tsv,
    Format.TEXT: files.read_text,
    Format.MARKDOWN: files.read_markdown,
    Format.HTML: files.read_html,
    Format.PDF: files.read_pdf,
}
_READ_FAILURES = (OSError, EOFError, zlib.error, UnicodeError, UnreadableFile, TooLarge)


def read(
    path: Path, *, format: Format | None = None, encoding: str | None = None, on_guess: _OnGuess | None = None
) -> Iterator[Record | RecordError | Skipped]:
    """Yield every record of a file, or of all files in a folder and below, sorted by name.

    A file's format is `format` if given, else the one of its extension, else detected from its first bytes. In a folder
    only files with a known extension are read, or only those of `format`; the others are reported as Skipped, once per
    extension, at the end. Hidden files and folders are ignored. A folder reached again by a symbolic link is read only
    once.

    A text file's encoding is the one of its byte order mark, else `encoding` (see `parse_encoding`). Without either,
    NDJSON and JSON are UTF-8, HTML is in the encoding it declares, and the encoding of any other file that is not UTF-8
    is guessed, or an error: `on_guess` is called with the path and the guess.

    Raises UnreadableFile where `path` does not exist; every later failure is a RecordError among the records.
    """
    if not os.path.lexists(path):
        raise UnreadableFile(f"no such file or folder: {path}{_nearest(path)}", param="path")
    if path.is_dir():
        return _read_folder(path, format, encoding, on_guess)
    return _read_file(path, path.name, format, encoding, on_guess)


def read_stream(
    stream: BinaryIO,
    *,
    format: Format | None = None,
    name: str = "stdin",
    encoding: str | None = None,
    on_guess: _OnGuess | None = None,
    line_characters: int = tables.MAX_LINE_CHARACTERS,
    watch: Callable[[int], None] | None = None,
) -> Iterator[Record | RecordError]:
    """Yield every record of a binary stream such as standard input. Without `format`, the first bytes decide.

    `name` is used as the path in records and errors, and as the id if the whole stream is one document. `encoding` and
    `on_guess` are as in `read`. `line_characters` limits the lines of NDJSON; a longer line is an error, and is not
    kept in memory. For gzipped content, `watch` is called with the number of decompressed bytes read so far. It may
    raise; TooLarge and the other read failures become an error of the stream.
    """
    origin = Origin(path=name)
    decoder = Decoder(encoding, None if on_guess is None else partial(on_guess, name))
    try:
        head, content = _decompressed(stream, watch)
        kind = format or sniff(head, encoding)
        if (head or content.peek(1)) and kind is Format.NDJSON:
            yield from tables.read_ndjson(content, head, origin, decoder, line_characters)
        elif head or content.peek(1):
            yield from _READERS[kind](content, head, origin, decoder)
        else:
            yield RecordError(code=UnreadableFile.code, reason="the file is empty", origin=origin)
    except _READ_FAILURES as error:
        code = error.code if isinstance(error, (UnreadableFile, TooLarge)) else UnreadableFile.code
        yield RecordError(code=code, reason=_reason(error), origin=origin)


def _read_file(
    path: Path, name: str, format: Format | None, encoding: str | None, on_guess: _OnGuess | None
) -> Iterator[Record | RecordError]:
    try:
        stream = path.open("rb")
    except OSError as error:
        yield RecordError(code=UnreadableFile.code, reason=_reason(error), origin=Origin(path=name))
        return
    with stream:
        kind = format or EXTENSIONS.get(extension(path))
        yield from read_stream(stream, format=kind, name=name, encoding=encoding, on_guess=on_guess)


def _read_folder(
    root: Path, format: Format | None, encoding: str | None, on_guess: _OnGuess | None
) -> Iterator[Record | RecordError | Skipped]:
    skipped: Counter[str] = Counter()
    first: dict[str, str] = {}
    for found in _walk(root, PurePosixPath(), set()):
        if not isinstance(found, PurePosixPath):
            yield found
            continue
        kind = EXTENSIONS.get(extension(found))
        if kind is None or (format is not None and kind is not format):
            reason = _skip_reason(extension(found), format)
            skipped[reason] += 1
            first.setdefault(reason, str(found))
        else:
            yield from _read_file(root / found, str(found), kind, encoding, on_guess)
    for reason, count in sorted(skipped.items()):
        yield Skipped(path=first[reason], reason=reason, count=count)


def _walk(
    root: Path, folder: PurePosixPath, seen: set[tuple[int, int]]
) -> Iterator[PurePosixPath | RecordError | Skipped]:
    """Yield the regular files below `folder`, relative to `root`; `seen`: device and inode of each folder visited."""
    try:
        status = (root / folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            yield Skipped(path=str(folder), reason="a symbolic link to a folder that was already read")
            return
        seen.add((status.st_dev, status.st_ino))
        names = sorted(name for name in os.listdir(root / folder) if not name.startswith("."))
    except OSError as error:
        yield RecordError(code=UnreadableFile.code, reason=_reason(error), origin=Origin(path=str(folder)))
        return
    for name in names:
        path = folder / name
        shown = os.fsencode(path).decode("utf-8", "replace")
        if shown != str(path):
            reason = "the name is not valid UTF-8; rename it"
            yield RecordError(code=UnreadableFile.code, reason=reason, origin=Origin(path=shown))
            continue
        try:
            mode = (root / path).stat().st_mode
        except OSError as error:  # a dangling link, a link to itself
            yield RecordError(code=UnreadableFile.code, reason=_reason(error), origin=Origin(path=str(path)))
            continue
        if stat.S_ISDIR(mode):
            yield from _walk(root, path, seen)
        elif stat.S_ISREG(mode):
            yield path
        else:  # opening a pipe would wait for a writer
            yield Skipped(path=str(path), reason="neither a file nor a folder")


def _decompressed(stream: BinaryIO, watch: Callable[[int], None] | None) -> tuple[bytes, io.BufferedReader]:
    """The first bytes of the content, at most SAMPLE_BYTES, and the whole content from its start; gzip is unpacked."""
    plain = _Replay(stream.read)
    if not plain.head.startswith(b"\x1f\x8b"):
        return plain.head, io.BufferedReader(plain)
    # read1, since read discards what it has decompressed if the stream ends early
    content = _Replay(gzip.GzipFile(fileobj=io.BufferedReader(plain)).read1, watch)
    return content.head, io.BufferedReader(content)


class _Replay(io.RawIOBase):
    """A stream whose first bytes were read in advance. A failure in reading them is raised once they are consumed."""

    def __init__(self, read: Callable[[int], bytes], watch: Callable[[int], None] | None = None) -> None:
        self._read = read
        self._watch = watch
        self._passed_on = 0
        self._failure: Exception | None = None
        self.head = b""
        try:
            while len(self.head) < SAMPLE_BYTES and (chunk := read(SAMPLE_BYTES - len(self.head))):
                self.head += chunk
        except (OSError, EOFError, zlib.error) as error:
            self._failure = error
        self._pending = self.head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's WriteableBuffer
        if self._pending:
            chunk, self._pending = self._pending[: len(buffer)], self._pending[len(buffer) :]
        elif self._failure is not None:
            raise self._failure
        else:
            chunk = self._read(len(buffer))
        buffer[: len(chunk)] = chunk
        self._passed_on += len(chunk)
        if self._watch is not None:
            self._watch(self._passed_on)
        return len(chunk)


def _reason(error: Exception) -> str:
    match error:
        case UnreadableFile() | TooLarge():
            return error.message
        case PermissionError():
            return "permission denied"
        case EOFError():
            return "the gzip stream ends too early; what came before was read. Fetch the file again"
        case gzip.BadGzipFile() | zlib.error():
            return f"damaged gzip stream ({error}); what came before was read"
        case OSError():
            return error.strerror or str(error)
        case _:
            return str(error)


def _skip_reason(suffix: str, format: Format | None) -> str:
    kind = f"extension {suffix!r}" if suffix else "no extension"
    wanted = f"only {format} is read" if format else f"known are {', '.join(EXTENSIONS)}"
    return f"{kind}: {wanted}"


def _nearest(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f" (nor is there a folder {parent})"
    try:
        near = difflib.get_close_matches(path.name, os.listdir(parent), n=1)
    except OSError:  # an unreadable folder has no suggestions to give
        return ""
    return f"; did you mean {parent / near[0]}?" if near else ""
