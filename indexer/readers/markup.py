"""Extract the title and the plain text of Markdown and HTML. Paragraph breaks become blank lines."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bs4 import BeautifulSoup, CData, Tag
from bs4.dammit import EncodingDetector
from bs4.element import NavigableString, PageElement
from markdown_it import MarkdownIt
from markdown_it.token import Token

from indexer.readers.encoding import Decoder

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE)
_BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "dialog", "div", "dl", "dt",
    "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li",
    "main", "nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
}  # fmt: skip
_UNSEEN = {"head", "script", "style", "noscript", "template", "svg", "iframe", "object", "select", "textarea", "nav"}
# Lone surrogates, which no page contains, stand for breaks while the source's white space is collapsed.
_PARAGRAPH, _LINE = "\ud800", "\ud801"


def markdown_text(source: str) -> tuple[str, str]:
    """Title ("" where there is none) and text. HTML within the Markdown is read as HTML."""
    title = ""
    if front := _FRONT_MATTER.match(source):
        source = source[front.end() :]
        if named := _FRONT_TITLE.search(front[1]):
            title = named[1].strip("\"'")
    blocks: list[str] = []
    heading = False
    for token in _MARKDOWN.parse(source):
        match token.type:
            case "heading_open":
                heading = True
            case "inline":
                blocks.append("".join(map(_inline, token.children or [])).strip())
                if heading and not title:
                    title = blocks[-1]
                heading = False
            case "fence" | "code_block":
                blocks.append(token.content.rstrip("\n"))
            case "html_block":
                blocks.append(_visible_text(token.content))
            case _:
                pass  # opens or closes an element; its text is in a separate token
    return title, "\n\n".join(block for block in blocks if block)


def html_text(data: bytes, decoder: Decoder) -> tuple[str, str]:
    """Title ("" where there is none) and text of an HTML file. Raises UnreadableFile where it is binary."""
    declared = EncodingDetector.find_declared_encoding(data, is_html=True, search_entire_document=False)
    soup = _soup(decoder.html_text(data, declared))
    title = soup.title or soup.find("h1")
    name = title.get_text(" ", strip=True) if isinstance(title, Tag) else ""
    return name, _soup_text(soup)


def _inline(token: Token) -> str:
    match token.type:
        case "softbreak" | "hardbreak":
            return "\n"
        case "html_inline":
            return ""
        case _:  # text and code have content, an image its alternative text; emphasis and links have none
            return token.content


def _visible_text(source: str) -> str:
    return _soup_text(_soup(source))


def _soup(source: str) -> BeautifulSoup:
    # An XML declaration makes Beautiful Soup warn that the HTML parser is the wrong one; for XHTML it is the right one.
    return BeautifulSoup(re.sub(r"\A\s*<\?xml.*?\?>", "", source, count=1, flags=re.DOTALL), "lxml")


def _soup_text(soup: BeautifulSoup) -> str:
    text = re.sub(r"[ \t\r\n\f\xa0]+", " ", "".join(_pieces(soup)))
    text = re.sub(f" ?{_LINE} ?", "\n", text)
    paragraphs = (part.strip() for part in text.split(_PARAGRAPH))
    return "\n\n".join(part for part in paragraphs if part)


def _pieces(soup: BeautifulSoup) -> Iterator[str]:
    """Yield the visible strings in document order, and the breaks between them."""
    stack: list[tuple[PageElement | str, bool]] = [(soup, False)]  # a node, or a break; whether it is preformatted
    while stack:  # not recursive: pages can nest deeper than Python's recursion limit
        node, preformatted = stack.pop()
        if isinstance(node, Tag):
            if node.name == "br":
                yield _LINE
            elif node.name not in _UNSEEN:
                inner: list[PageElement | str] = list(node.contents)
                if node.name in _BLOCKS:
                    inner = [_PARAGRAPH, *inner, _PARAGRAPH]
                stack.extend((child, preformatted or node.name == "pre") for child in reversed(inner))
        elif type(node) in {NavigableString, CData, str}:  # not a comment or a declaration
            yield str(node).replace("\n", _LINE) if preformatted else str(node)


_MARKDOWN = MarkdownIt("commonmark", {"maxNesting": 100}).enable(["table", "strikethrough"])
