"""Readers for formats with many records per file: NDJSON, JSON, CSV and TSV. All but JSON stream in bounded memory."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from core.errors import InvalidDocument, TooLarge, UnreadableFile
from indexer.readers.encoding import Decoder, undecodable
from indexer.readers.files import read_all
from indexer.readers.rowlines import SKIPPED_CHARACTERS, RowLines, RowTooLong
from indexer.records import Origin, Record, RecordError, Shape

MAX_LINE_CHARACTERS = 32_000_000  # per line of NDJSON, or row of a table
MAX_BLANK_LINES = 1_000_000  # consecutive; a few KiB of gzip can unpack to any number of them
_DELIMITERS = ",;\t|"
_NAMED_DELIMITER = re.compile(r"""sep=([^"\s]|\t)\s*""", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*(?:"|\Z)')


def read_ndjson(
    stream: io.BufferedReader,
    head: bytes,
    origin: Origin,
    decoder: Decoder,
    line_characters: int = MAX_LINE_CHARACTERS,
) -> Iterator[Record | RecordError]:
    """One JSON object per line; blank lines are skipped. Raises UnreadableFile after too many blank lines in a row."""
    with decoder.json_stream(stream, head) as lines:
        yield from _parse_lines(lines, origin, decoder, line_characters)


def read_json(
    stream: io.BufferedReader, head: bytes, origin: Origin, decoder: Decoder
) -> Iterator[Record | RecordError]:
    """A list of objects, or one object. Items before a syntax error are used; those after it cannot be.

    More than one object outside of a list is read as NDJSON.
    """
    text = decoder.json_text(read_all(stream))
    position = _after_space(text, 0)
    if not text.startswith("[", position):
        if text[position : position + 1] == "{" and _is_ndjson(text):
            data = io.BytesIO(text.encode("utf-8", "surrogatepass"))  # StringIO would take up to four times the memory
            with io.TextIOWrapper(data, encoding="utf-8", errors="surrogatepass") as lines:
                yield from _parse_lines(lines, origin, decoder, MAX_LINE_CHARACTERS)
            return
        place = Origin(path=origin.path, line=text.count("\n", 0, position) + 1)
        yield _not_in(decoder, "file", place) if undecodable(text) else _parse_object(text, place)
        return
    line, counted = 1, 0
    separator = "["
    while text.startswith(separator, position):
        position = _after_space(text, position + 1)
        if separator == "[" and text.startswith("]", position):
            return
        line, counted = line + text.count("\n", counted, position), position
        place = Origin(path=origin.path, line=line)
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            yield _invalid(f"broken JSON: {_syntax(error)}; the list's items after it were not read", place)
            return
        yield _not_in(decoder, "item", place) if undecodable(text[position:end]) else _record(value, place)
        position, separator = _after_space(text, end), ","
    if not text.startswith("]", position) or _after_space(text, position + 1) < len(text):
        place = Origin(path=origin.path, line=line + text.count("\n", counted, position))
        yield _invalid("broken JSON: the list does not end with its ]; what follows was not read", place)


def read_csv(
    stream: io.BufferedReader, head: bytes, origin: Origin, decoder: Decoder
) -> Iterator[Record | RecordError]:
    """Rows under a header line; the delimiter is whichever of `, ; tab |` is most frequent in it outside quotes.

    A first line such as `sep=;`, as Excel writes it, names the delimiter.
    """
    return _read_rows(stream, head, origin, decoder, delimiter=None)


def read_tsv(
    stream: io.BufferedReader, head: bytes, origin: Origin, decoder: Decoder
) -> Iterator[Record | RecordError]:
    """Like CSV, tab-separated."""
    return _read_rows(stream, head, origin, decoder, delimiter="\t")


def _read_rows(
    stream: io.BufferedReader, head: bytes, origin: Origin, decoder: Decoder, delimiter: str | None
) -> Iterator[Record | RecordError]:
    csv.field_size_limit(MAX_LINE_CHARACTERS)  # the default refuses cells over 128 KiB; a process has only one limit
    with decoder.stream(stream, head, newline="") as text:
        lines = RowLines(text, MAX_LINE_CHARACTERS)
        header, place = _header(lines)
        if delimiter is None and (named := _NAMED_DELIMITER.fullmatch(header)):
            delimiter = named[1]
            header, place = _header(lines)
        if delimiter is None:
            unquoted = _QUOTED.sub("", header)
            delimiter = max(_DELIMITERS, key=unquoted.count)
        lines.put_back(header)
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            names = [name.strip() for name in next(rows)]
        except (csv.Error, RowTooLong) as error:
            raise UnreadableFile(f"line {place}: the header cannot be read: {error}") from error
        _check_header(names, place, decoder)
        blank = 0
        found: Record | RecordError | None
        while True:
            lines.begin_row()
            here = Origin(path=origin.path, line=lines.number + 1)
            try:
                row = next(rows)
            except StopIteration:
                return
            except RowTooLong as error:
                found = RecordError(code=TooLarge.code, reason=str(error), origin=here)
            except csv.Error as error:
                found = _invalid(f"broken row: {error}", here)
            else:
                found = _row(names, row, here, decoder) if row else None
            blank = 0 if found else blank + 1
            _check_blank(blank, lines.number)
            if found:
                yield found


def _parse_lines(
    lines: io.TextIOWrapper, origin: Origin, decoder: Decoder, line_characters: int
) -> Iterator[Record | RecordError]:
    number = blank = 0
    while line := lines.readline(line_characters + 1):
        number += 1
        blank = blank + 1 if line.isspace() else 0
        _check_blank(blank, number)
        place = Origin(path=origin.path, line=number)
        if len(line) > line_characters and line[line_characters:] != "\n":
            while line and not line.endswith("\n"):
                line = lines.readline(SKIPPED_CHARACTERS)
            reason = f"the line is longer than {line_characters} characters; split the document"
            yield RecordError(code=TooLarge.code, reason=reason, origin=place)
        elif undecodable(line):
            yield _not_in(decoder, "line", place)
        elif not blank:
            yield _parse_object(line, place)


def _check_blank(lines: int, number: int) -> None:
    """Raises UnreadableFile for too many consecutive blank `lines`; `number` is the number of the last one."""
    if lines > MAX_BLANK_LINES:
        raise UnreadableFile(f"{MAX_BLANK_LINES} blank lines in a row end at line {number}: the file is damaged")


def _header(lines: RowLines) -> tuple[str, int]:
    """The next line that is not blank, and its number. Raises UnreadableFile where there is none."""
    for _ in range(MAX_BLANK_LINES):
        lines.begin_row()
        try:
            line = next(lines)
        except StopIteration:
            break
        except RowTooLong as error:
            raise UnreadableFile(f"line {lines.number}: the header cannot be read: {error}") from error
        if line.strip(" \r\n"):
            return line, lines.number
    raise UnreadableFile("the file has no header line")


def _check_header(names: list[str], line: int, decoder: Decoder) -> None:
    """Raises UnreadableFile if a column name is empty, repeated or undecodable."""
    if any(map(undecodable, names)):
        raise UnreadableFile(f"line {line}: the header is not valid {decoder.used}")
    rule = "the header must name every column, and each only once"
    if "" in names:
        raise UnreadableFile(f"line {line}: {rule}; column {names.index('') + 1} of {len(names)} has no name")
    if again := next((name for at, name in enumerate(names) if name in names[:at]), None):
        raise UnreadableFile(f"line {line}: {rule}; {again!r} comes twice")


def _row(names: list[str], row: list[str], origin: Origin, decoder: Decoder) -> Record | RecordError:
    if len(row) > len(names):
        return _invalid(f"{len(row)} cells, but the header has {len(names)} columns; is a quote missing?", origin)
    if any(map(undecodable, row)):
        return _not_in(decoder, "row", origin)
    fields = {name: cell for name, cell in zip(names, row, strict=False) if cell}
    return Record(fields=fields, origin=origin, shape=Shape.TABLE)


def _parse_object(text: str, origin: Origin) -> Record | RecordError:
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        return _invalid(f"broken JSON: {_syntax(error)}", origin)
    return _record(value, origin)


def _record(value: Any, origin: Origin) -> Record | RecordError:
    if not isinstance(value, dict):
        return _invalid(f"must be a JSON object such as {{'id': ..., 'text': ...}}, not {value!r:.60}", origin)
    return Record(fields=value, origin=origin)


def _invalid(reason: str, origin: Origin) -> RecordError:
    return RecordError(code=InvalidDocument.code, reason=reason, origin=origin)


def _not_in(decoder: Decoder, what: str, origin: Origin) -> RecordError:
    return _invalid(f"the {what} is not valid {decoder.used}", origin)


def _syntax(error: ValueError | RecursionError) -> str:
    match error:
        case json.JSONDecodeError():
            return f"{error.msg} at character {error.colno}"
        case RecursionError():
            return "nested too deeply"
        case _NoNumber():
            return str(error)
        case _:  # Python's limit on the digits of an integer
            return "an integer of too many digits; make it a text"


def _after_space(text: str, position: int) -> int:
    while text[position : position + 1] in {" ", "\t", "\n", "\r"}:
        position += 1
    return position


def _is_ndjson(text: str) -> bool:
    """Whether text that starts with an object has more after it: NDJSON in a file named as JSON."""
    try:
        _, end = _DECODER.raw_decode(text, _after_space(text, 0))
    except (ValueError, RecursionError):
        return False
    return _after_space(text, end) < len(text)


class _NoNumber(ValueError):
    """NaN or an infinity."""


def _refuse_constant(name: str) -> Any:
    raise _NoNumber(f"{name} is not JSON; use null")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
