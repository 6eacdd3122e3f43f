"""The lines of a table for csv.reader, which holds a row in memory as a whole: rows of bounded length."""

from __future__ import annotations

import io

SKIPPED_CHARACTERS = 1_000_000  # of a line that is too long, held at a time


class RowTooLong(Exception):
    """The row is passed over; where it ends within quotes, the lines after it cannot be told from it."""


class RowLines:
    """One line after the other. What csv.reader raises for a row does not end it: the next row is read on."""

    def __init__(self, text: io.TextIOWrapper, limit: int) -> None:
        """`text` keeps its line ends; `limit`: characters of a row."""
        self.number = 0  # of the line that came last, from 1
        self._text = text
        self._limit = limit
        self._characters = self._quotes = 0  # of the row
        self._again: str | None = None

    def __iter__(self) -> RowLines:
        return self

    def __next__(self) -> str:
        """Raises RowTooLong; after one that ends within quotes nothing else comes."""
        line = self._again
        if line is None:
            line = self._text.readline(self._limit - self._characters + 1)
            self.number += bool(line)
        self._again = None
        if not line:
            raise StopIteration
        self._characters += len(line)
        self._quotes += line.count('"')
        if self._characters > self._limit:
            self._pass_over(line)
        return line

    def begin_row(self) -> None:
        self._characters = self._quotes = 0

    def put_back(self, line: str) -> None:
        """`line`, which came last, is the first of a row."""
        self.begin_row()
        self._again = line

    def _pass_over(self, line: str) -> None:
        while line and not line.endswith(("\n", "\r")):
            line = self._text.readline(SKIPPED_CHARACTERS)
            self._quotes += line.count('"')
        reason = f"the row is longer than {self._limit} characters; split the document"
        if self._quotes % 2 == 0:
            raise RowTooLong(reason)
        while self._text.read(SKIPPED_CHARACTERS):
            pass
        raise RowTooLong(f"{reason}. A quote is open at the end of its last line: what comes after it was not read")
