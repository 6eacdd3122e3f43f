"""Decode bytes to text by the byte order mark, the encoding the user named, UTF-8, or a guess that is reported."""

from __future__ import annotations

import codecs
import difflib
import encodings.aliases
import io
import re
from collections.abc import Callable
from typing import BinaryIO

from core.errors import UnreadableFile
from indexer.readers.guessing import guess

SAMPLE_BYTES = 1 << 16
_MARKS = (  # the longer marks first: UTF-32's starts with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ISO_2022 = re.compile(rb"\x1b\$[@AB(]|\x1b\$\)[AC]|\x1b\([IJ]")  # ESC sequences that switch between character sets
_NOT_OF_FILES = {"charmap", "idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
_WIDER = {  # declared encoding -> superset that browsers use: https://encoding.spec.whatwg.org/#names-and-labels
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932", "euc_kr": "cp949",
}  # fmt: skip
_ASCII = bytes(range(128))
_BAD = "\udc80"  # replaces undecodable bytes; a lone surrogate, which no decoded text contains
_ISO_2022_CODECS = ("iso2022_jp_2", "iso2022_kr")
_ADVICE = "save the file as UTF-8, or name its encoding (salience add --encoding)"
_BINARY = "binary file, or UTF-16 without a byte order mark: only text can be read; save it as UTF-8"


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _BAD, error.end


_MARKING = "salience.undecodable"  # surrogateescape cannot represent every byte of UTF-16 and Shift JIS
codecs.register_error(_MARKING, _mark)


class Decoder:
    """Decodes the bytes of one file."""

    def __init__(self, encoding: str | None = None, on_guess: Callable[[str], object] | None = None) -> None:
        """`encoding` applies to a file without a byte order mark. `on_guess` is called with each guessed encoding."""
        self.encoding = encoding
        self.used = "UTF-8"  # the encoding of the last call, as error messages name it
        self._on_guess = on_guess

    def text(self, data: bytes) -> str:
        """Decode a whole file. Raises UnreadableFile where it is binary or not valid in its encoding."""
        encoding = self._chosen(data, whole=True)
        try:
            return data.decode(encoding)
        except UnicodeDecodeError as error:
            at = error.start + len(data) - len(error.object)  # some codecs strip the byte order mark
            raise UnreadableFile(f"byte {at} (0x{data[at]:02x}) is not {self.used}; {_ADVICE}") from error

    def json_text(self, data: bytes) -> str:
        """Decode JSON, by default as UTF-8. Invalid bytes are marked, and found by `undecodable`.

        Raises UnreadableFile for a binary file.
        """
        return data.decode(self._of_json(data[:SAMPLE_BYTES]), _MARKING)

    def html_text(self, data: bytes, declared: str | None) -> str:
        """Decode an HTML page that declares the encoding `declared`. Bytes that are UTF-8 are read as UTF-8 regardless.

        Raises UnreadableFile where the page is binary or its declared encoding is unknown or does not fit.
        """
        if declared is None or self.encoding is not None or marked(data) is not None or b"\0" in data:
            return self.text(data)
        meant = _meant(declared)
        if any(map(_wide, meant)):  # it cannot be UTF-16 or UTF-32: there are no NUL bytes
            return self.text(data)
        if (data.isascii() and not any(map(_is_ascii_bytes, meant))) or _mostly_utf8(data):
            return self.text(data)
        reason = "it is unknown"
        for codec in meant:
            try:
                return data.decode(codec)
            except ValueError as error:
                reason = str(error)
        raise UnreadableFile(f"declares the encoding {declared!r}, which does not fit: {reason}")

    def stream(self, stream: BinaryIO, head: bytes, *, newline: str | None = None) -> io.TextIOWrapper:
        """Wrap `stream` as text; `head` is its start, which was peeked at and not consumed.

        Invalid bytes are marked, and found by `undecodable`, so that they affect one record and not the whole file.
        Raises UnreadableFile for a binary file.
        """
        encoding = self._chosen(head, whole=len(head) < SAMPLE_BYTES)
        return io.TextIOWrapper(stream, encoding=encoding, errors=_MARKING, newline=newline)

    def json_stream(self, stream: BinaryIO, head: bytes) -> io.TextIOWrapper:
        """Like `stream`, for lines of JSON, which are UTF-8 by default."""
        return io.TextIOWrapper(stream, encoding=self._of_json(head), errors=_MARKING)

    def _of_json(self, head: bytes) -> str:
        encoding = marked(head) or self.encoding
        if encoding is None or not _wide(encoding):
            begins_as_json = head.lstrip().startswith((b"{", b"[")) and b"\0" not in head[:4]
            if b"\0" in head and not begins_as_json:
                raise UnreadableFile(_BINARY)
        return self._using(encoding or "utf-8")

    def _chosen(self, data: bytes, *, whole: bool) -> str:
        encoding = marked(data) or self.encoding
        if b"\0" in data and not (encoding and _wide(encoding)):
            raise UnreadableFile(_BINARY)
        if encoding is not None:
            return self._using(encoding)
        if data.isascii() and (sequence := _ISO_2022.search(data)):
            if named := next((codec for codec in _ISO_2022_CODECS if _fits(data, codec, whole)), None):
                return self._guessed(named)
            raise UnreadableFile(f"byte {sequence.start()} begins an ISO-2022 sequence that does not fit; {_ADVICE}")
        if _fits(data, "utf-8", whole) or _mostly_utf8(data):
            return self._using("utf-8")
        if named := guess(_sample(data)):
            return self._guessed(named)
        at = _first_not_utf8(data)
        raise UnreadableFile(f"byte {at} (0x{data[at]:02x}) is not UTF-8, and no other encoding is sure; {_ADVICE}")

    def _guessed(self, encoding: str) -> str:
        if self._on_guess is not None:
            self._on_guess(encoding)
        return self._using(encoding)

    def _using(self, encoding: str) -> str:
        self.used = "UTF-8" if encoding.startswith("utf-8") else encoding
        return encoding


def parse_encoding(name: str) -> str:
    """The codec of this name. Raises UnreadableFile, which suggests a similar name."""
    try:
        "a".encode(name)  # refuses codecs that are not text encodings, such as base64
        codec = codecs.lookup(name).name
    except (LookupError, ValueError):
        codec = "undefined"
    if codec in _NOT_OF_FILES:
        known = {*encodings.aliases.aliases, *encodings.aliases.aliases.values()}
        near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UnreadableFile(
            f"unknown encoding {name!r}: allowed are utf-8, windows-1252, shift_jis, gb18030 and many others{hint}",
            param="encoding",
        )
    return codec


def marked(data: bytes) -> str | None:
    """The codec that a byte order mark indicates; None without one."""
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)


def undecodable(text: str) -> bool:
    """Whether `text`, decoded by a Decoder, contains marks of bytes that could not be decoded."""
    return _BAD in text


def decode(data: bytes) -> str:
    """Decode a whole file. Raises UnreadableFile where it is binary or its encoding cannot be determined."""
    return Decoder().text(data)


def _sample(data: bytes) -> bytes:
    """At most SAMPLE_BYTES around the first byte that is not ASCII, cut at the end of a word."""
    first = re.search(rb"[^\x00-\x7f]", data)
    start = max(0, (first.start() if first else 0) - SAMPLE_BYTES // 2)
    sample = data[start : start + SAMPLE_BYTES]
    end = max(sample.rfind(b"\n"), sample.rfind(b" ")) if len(data) >= SAMPLE_BYTES else len(sample)
    return sample[:end]


def _fits(data: bytes, encoding: str, whole: bool) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        decoder.decode(data, final=whole)  # a sample may end inside a character
    except UnicodeDecodeError:
        return False
    return True


def _first_not_utf8(data: bytes) -> int:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _mostly_utf8(data: bytes) -> bool:
    """Whether at least half of the sequences of high bytes are valid UTF-8.

    In texts in other encodings at most a third are.
    """
    text = data.decode("utf-8", _MARKING)
    bad = text.count(_BAD)
    good = len(text) - bad - (len(data) - len(data.translate(None, _ASCII)))
    return good >= max(1, bad)


def _wide(encoding: str) -> bool:
    """Whether text in this encoding contains NUL bytes: UTF-16 and UTF-32."""
    return encoding.replace("_", "-").startswith(("utf-16", "utf-32"))


def _is_ascii_bytes(codec: str) -> bool:
    """Whether this encoding uses only bytes below 128."""
    return codec.startswith("iso2022") or codec == "hz"


def _meant(declared: str) -> list[str]:
    """The codecs to try for a page that declares this encoding; none where it is unknown."""
    try:
        codec = parse_encoding(re.sub(r"\A(?:x-)+", "", declared))
    except UnreadableFile:
        return []
    return [_WIDER[codec], codec] if codec in _WIDER else [codec]
