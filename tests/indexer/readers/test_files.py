"""Formats of one document a file, and how bytes become text."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.readers import files, read
from indexer.records import Shape
from tests.growth import assert_linear
from tests.indexer.readers.reading import only_error, pdf, records, split_errors, write


class TestFiles:
    def test_plain_text(self, tmp_path: Path) -> None:
        (record,) = records(write(tmp_path / "notes.txt", "\ufeffOne.\r\n\r\nTwo.\r\n"))
        assert record.fields == {
            "id": "notes.txt",
            "title": "notes",
            "text": "One.\n\nTwo.",
            "metadata": {"path": "notes.txt"},
        }
        assert record.shape is Shape.FILE

    def test_markdown(self, tmp_path: Path) -> None:
        source = (
            "Intro *before*.\n\n# The **Title** of `it`\n\nA [link](http://x.y) and ![a cat](c.png)\nnext line.\n\n"
            "- one\n- two\n\n```py\nx = 1\n\ny = 2\n```\n\n| a | b |\n|---|---|\n| c | d |\n\n"
            "<div>raw <b>html</b></div>\n"
        )
        (record,) = records(write(tmp_path / "a.md", source))
        assert record.fields["title"] == "The Title of it"
        assert record.fields["text"].split("\n\n") == [
            "Intro before.", "The Title of it", "A link and a cat\nnext line.", "one", "two", "x = 1", "y = 2",
            "a", "b", "c", "d", "raw html",
        ]  # fmt: skip

    def test_front_matter_names_the_title_and_is_no_text(self, tmp_path: Path) -> None:
        (record,) = records(write(tmp_path / "a.md", '---\nlayout: x\ntitle: "My page"\n---\n# Heading\n\nText.\n'))
        assert record.fields["title"] == "My page"
        assert record.fields["text"] == "Heading\n\nText."

    def test_html(self, tmp_path: Path) -> None:
        source = (
            "<!doctype html><html><head><title> My\n page </title><style>p {}</style><script>var x</script></head>"
            "<body>"
            "<h1>Head</h1><p>First <b>bold</b>\n   text.<br>Line.<p>Second &amp; last.<pre>a\n  b</pre>"
            "<ul><li>one<li>two</ul><nav><a>menu</a></nav><noscript>no</noscript></body></html>"
        )
        (record,) = records(write(tmp_path / "a.html", source))
        assert record.fields["title"] == "My page"
        assert record.fields["text"] == "Head\n\nFirst bold text.\nLine.\n\nSecond & last.\n\na\nb\n\none\n\ntwo"

    def test_html_says_its_encoding(self, tmp_path: Path) -> None:
        source = '<html><head><meta charset="iso-8859-2"><title>Łódź</title></head><body>Zażółć</body></html>'
        (record,) = records(write(tmp_path / "a.html", source.encode("iso-8859-2")))
        assert (record.fields["title"], record.fields["text"]) == ("Łódź", "Zażółć")

    @pytest.mark.parametrize("charset", ["undefined", "idna", "punycode", "rot13", "no-such", "utf-7"])
    def test_html_of_an_encoding_that_does_not_fit_costs_itself_only(self, tmp_path: Path, charset: str) -> None:
        write(tmp_path / "a.html", f'<meta charset="{charset}"><p>caf\xe9 +\xff-xn--\xfc'.encode("latin-1"))
        write(tmp_path / "b.txt", "another")
        good, errors = split_errors(read(tmp_path))
        assert [record.fields["text"] for record in good] == ["another"]
        assert errors[0].reason.startswith(f"declares the encoding {charset!r}, which does not fit: ")

    def test_xhtml_and_deep_nesting(self, tmp_path: Path) -> None:
        source = '<?xml version="1.0" encoding="utf-8"?><html><body>' + "<div>" * 3000 + "deep" + "</div>" * 3000
        (record,) = records(write(tmp_path / "a.xhtml", source))
        assert record.fields["title"] == "a"
        assert record.fields["text"] == "deep"

    def test_html_costs_time_in_proportion(self, tmp_path: Path) -> None:
        def reading(paragraphs: int) -> Callable[[], object]:
            path = write(tmp_path / f"{paragraphs}.html", "<p>Some <b>bold</b> text.</p>" * paragraphs)
            assert records(path)[0].fields["text"].count("Some bold text.") == paragraphs
            return lambda: records(path)

        assert_linear(reading, 250, 2_000)

    def test_pdf(self, tmp_path: Path) -> None:
        line = "This sentence is long enough to wrap over the end of the line, as sentences in reports do. "
        content = pdf(line * 3 + "\n\nA second paragraph.", "Page two.", title="My report")
        (record,) = records(write(tmp_path / "sub" / "a.pdf", content))
        assert record.fields["title"] == "My report"
        assert record.fields["metadata"] == {"path": "a.pdf", "pages": 2}
        first, second, third = record.fields["text"].split("\n\n")
        assert " ".join(first.split()) == (line * 3).strip()
        assert (second, third) == ("A second paragraph.", "Page two.")

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (pdf(""), "no text in its 1 pages"),
            (pdf("secret", password="pass"), "encrypted"),
            (pdf("text")[:300], "broken PDF"),
            (b"%PDF-1.7 nonsense", "broken PDF"),
        ],
    )
    def test_pdf_without_text_encrypted_or_broken(self, tmp_path: Path, content: bytes, reason: str) -> None:
        error = only_error(write(tmp_path / "a.pdf", content))
        assert (error.code, str(error.origin)) == ("unreadable_file", "a.pdf")
        assert reason in error.reason

    def test_a_file_over_the_limit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "MAX_FILE_BYTES", 1000)
        bomb = gzip.compress(b"a" * 1_000_000)
        assert only_error(write(tmp_path / "a.txt.gz", bomb)).code == "too_large"


class TestEncodings:
    TEXT = "Müller fährt nach Köln, weil es dort schön ist. Grüße!"

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252"])
    @pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.html", "a.md", "a.json"])
    def test_every_format_in_every_encoding(self, tmp_path: Path, name: str, encoding: str) -> None:
        source = {
            "a.csv": f'text\n"{self.TEXT}"\n',
            "a.jsonl": json.dumps({"text": self.TEXT}, ensure_ascii=False),
            "a.json": json.dumps([{"text": self.TEXT}], ensure_ascii=False),
            "a.html": f"<p>{self.TEXT}</p>",
        }.get(name, self.TEXT)
        (record,) = records(write(tmp_path / name, source.encode(encoding)))
        assert record.fields["text"] == self.TEXT

    @pytest.mark.parametrize(
        ("text", "encoding"),
        [
            ("café", "latin-1"),
            ("Zażółć gęślą jaźń, proszę bardzo. Łódź leży w Polsce.", "cp1250"),
            ("Привет, как дела? Это текст на русском языке.", "cp1251"),
            ("日本語のテキストです。今日は天気がいいです。明日も晴れるでしょう。", "shift_jis"),
            ("你好，世界。这是一个测试文本，用来检查编码。", "gb18030"),
        ],
    )
    def test_legacy_encodings(self, tmp_path: Path, text: str, encoding: str) -> None:
        assert records(write(tmp_path / "a.txt", text.encode(encoding)))[0].fields["text"] == text

    @pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", bytes(range(256)) * 10, b"a\0b"])
    @pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.csv", "a.jsonl", "a.json"])
    def test_a_binary_file_under_a_text_name(self, tmp_path: Path, name: str, content: bytes) -> None:
        error = only_error(write(tmp_path / name, content))
        assert error.code == "unreadable_file"
        assert "binary" in error.reason

    def test_utf16_that_breaks_off(self, tmp_path: Path) -> None:
        content = '{"text": "a"}\n{"text": "b"}\n'.encode("utf-16")[:-1]
        good, errors = split_errors(read(write(tmp_path / "a.jsonl", content)))
        assert good[0].fields == {"text": "a"}
        assert "not valid utf-16" in errors[0].reason


class TestGzip:
    def test_known_by_its_bytes_not_its_name(self, tmp_path: Path) -> None:
        packed = gzip.compress(b'{"text": "a"}\n') + gzip.compress(b'{"text": "b"}\n')
        for name in ("a.jsonl", "a.jsonl.gz", "A.JSONL.GZ"):
            assert [record.fields["text"] for record in records(write(tmp_path / name, packed))] == ["a", "b"]
        (record,) = records(write(tmp_path / "a.txt.gz", gzip.compress(b"text")))
        assert (record.fields["id"], record.fields["title"]) == ("a.txt.gz", "a")

    @pytest.mark.parametrize("lines", [20, 20_000])
    def test_what_came_before_the_break_arrives(self, tmp_path: Path, lines: int) -> None:
        source = "".join(json.dumps({"id": i, "text": os.urandom(30).hex()}) + "\n" for i in range(lines)).encode()
        packed = gzip.compress(source)
        good, errors = split_errors(read(write(tmp_path / "a.jsonl.gz", packed[: len(packed) // 2])))
        assert len(good) > lines // 3
        assert [record.fields["id"] for record in good] == list(range(len(good)))
        assert [error.reason[:32] for error in errors] == ["the gzip stream ends too early; "]

    def test_damage_within(self, tmp_path: Path) -> None:
        packed = bytearray(gzip.compress(os.urandom(300).hex().encode()))
        packed[-6] ^= 0xFF  # in the checksum
        assert "damaged gzip" in only_error(write(tmp_path / "a.txt.gz", bytes(packed))).reason
