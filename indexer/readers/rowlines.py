"""Feed the lines of a table to csv.reader with a limit on row length, since csv.reader keeps a whole row in memory."""

from __future__ import annotations

import io

SKIPPED_CHARACTERS = 1_000_000  # read at a time while skipping the rest of a line that is too long


class RowTooLong(Exception):
    """The row is skipped. If it ends inside quotes, its end is unknown, and the rest of the file is skipped, too."""


class RowLines:
    """Iterates over the lines of a table. After csv.reader raises for a row, iteration can go on with the next row."""

    def __init__(self, text: io.TextIOWrapper, limit: int) -> None:
        """`text` must keep its line ends; `limit` is the most characters of a row."""
        self.number = 0  # 1-based number of the last line returned
        self._text = text
        self._limit = limit
        self._characters = self._quotes = 0  # counts for the current row
        self._again: str | None = None

    def __iter__(self) -> RowLines:
        return self

    def __next__(self) -> str:
        """The next line. Raises RowTooLong; after such a row that ends inside quotes, there are no more lines."""
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
        """Start a new row: the limit applies to the characters from here on."""
        self._characters = self._quotes = 0

    def put_back(self, line: str) -> None:
        """Return `line`, the last one returned, once more, as the first of a row."""
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
