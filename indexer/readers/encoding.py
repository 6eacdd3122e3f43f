"""Bytes to text: byte order mark, then UTF-8, then charset-normalizer on a sample."""

from __future__ import annotations

import codecs
import io
import re
from typing import BinaryIO

import charset_normalizer

from core.errors import UnreadableFile

SAMPLE_BYTES = 1 << 16
_MARKS = (  # the longer marks first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The legacy encodings still met in files; a wider choice makes the guess on short texts worse.
_LEGACY = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8_r",
    "gb18030", "big5", "cp932", "euc_jp", "cp949",
]  # fmt: skip
_ESCAPED = re.compile("[\udc80-\udcff]")


def decode(data: bytes) -> str:
    """The text of a whole file. Raises UnreadableFile where it is binary or in no encoding that we know."""
    encoding = detect_encoding(data, whole=True)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            f"looks like {encoding} but byte {error.start} does not fit; save the file as UTF-8"
        ) from error


def text_stream(stream: BinaryIO, head: bytes, *, newline: str | None = None) -> io.TextIOWrapper:
    """`stream` as text; `head` is its start, which was peeked at and not consumed.

    Bytes that are not UTF-8 in a stream that began as UTF-8 become lone surrogates, which `undecodable` finds:
    so they cost one record, not the file. Raises UnreadableFile for a binary file.
    """
    encoding = detect_encoding(head, whole=len(head) < SAMPLE_BYTES)
    errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
    return io.TextIOWrapper(stream, encoding=encoding, errors=errors, newline=newline)


def undecodable(text: str) -> bool:
    """Whether `text` of a `text_stream` holds bytes that could not be decoded."""
    return _ESCAPED.search(text) is not None


def detect_encoding(data: bytes, *, whole: bool) -> str:
    """The codec of a text of which `data` is the start, or the whole. Raises UnreadableFile where it is no text."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    if b"\0" in data:
        raise UnreadableFile(
            "binary file, or UTF-16 without a byte order mark: only text can be read; save it as UTF-8"
        )
    if _is_utf8(data, whole):
        return "utf-8"
    sample = data[:SAMPLE_BYTES].rpartition(b"\n")[0] if len(data) > SAMPLE_BYTES else data
    matches = charset_normalizer.from_bytes(sample, cp_isolation=_LEGACY)
    best = matches.best()
    if best is None:
        raise UnreadableFile("binary file, or text in an unknown encoding; save it as UTF-8")
    # On short texts many code pages fit equally well; the western one is the most likely of them.
    western = any("cp1252" in match.could_be_from_charset and match.chaos <= best.chaos for match in matches)
    return "cp1252" if western and _decodes(data, "cp1252") else best.encoding


def _is_utf8(data: bytes, whole: bool) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(data, final=whole)  # a sample may end within a character
    except UnicodeDecodeError:
        return False
    return True


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
