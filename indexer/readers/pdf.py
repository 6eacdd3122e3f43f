"""Extract the title and the text of each page of a PDF, with PDFium."""

from __future__ import annotations

import statistics
import threading
from itertools import pairwise

import pypdfium2  # type: ignore[import-untyped]
import pypdfium2.raw  # type: ignore[import-untyped]

from core.errors import UnreadableFile

_PARAGRAPH_GAP = 1.3  # line spacing over this many times the page's median starts a paragraph
_LOCK = threading.Lock()  # PDFium is not thread-safe


def extract(data: bytes) -> tuple[str, list[str]]:
    """The title ("" where there is none) and the text of each page.

    Raises UnreadableFile where the PDF is broken, encrypted or without text.
    """
    with _LOCK:
        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            raise UnreadableFile(_reason(error)) from error
        try:
            title = str(document.get_metadata_dict().get("Title", ""))
            pages = [_page_text(page) for page in document]
        except pypdfium2.PdfiumError as error:
            raise UnreadableFile(f"a page of the PDF cannot be read: {error}") from error
        finally:
            document.close()
    if not any(pages):
        raise UnreadableFile(
            f"the PDF has no text in its {len(pages)} pages, perhaps it is scanned: run text recognition (OCR) first"
        )
    return title, pages


def _page_text(page: pypdfium2.PdfPage) -> str:
    """The page's lines, with a blank line wherever the spacing to the next is larger than usual."""
    content = page.get_textpage()
    try:
        text = content.get_text_range()
        lines: list[str] = []
        tops: list[float] = []
        start = 0
        for line in text.split("\r\n"):
            if line.strip() and start < content.count_chars():
                lines.append(line)
                tops.append(content.get_charbox(start, loose=True)[3])
            start += len(line) + len("\r\n")
    finally:
        content.close()
        page.close()
    return _joined(lines, tops)


def _joined(lines: list[str], tops: list[float]) -> str:
    """Join lines to text. `tops` are the lines' upper edges, in points from the bottom of the page."""
    steps = [above - below for above, below in pairwise(tops)]
    usual = statistics.median([step for step in steps if step > 0] or [0.0])
    parts: list[str] = []
    for line, step in zip(lines, [0.0, *steps], strict=False):
        if parts:
            # a step upwards is a new column or a box, which starts a paragraph, too
            parts.append("\n" if 0 <= step <= usual * _PARAGRAPH_GAP else "\n\n")
        parts.append(line.rstrip())
    text = "".join(parts)
    # PDFium gives U+FFFE for a hyphen at a line's end
    return text.replace("\ufffe\n", "").replace("\ufffe", "-").replace("\0", "").strip()


def _reason(error: pypdfium2.PdfiumError) -> str:
    if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
        return "the PDF is encrypted: remove its password first"
    return f"broken PDF: {error}"
