"""Formats of one document a file, and how bytes become text."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import UnreadableFile
from indexer.readers import files, read
from indexer.readers.encoding import parse_encoding
from indexer.records import Record, Shape
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

    def test_the_signs_of_icon_fonts_are_no_breaks(self, tmp_path: Path) -> None:
        source = "<p>a\ue000b &#xe001; c &#xd800; d<pre>e\n\ue001</pre>"
        (record,) = records(write(tmp_path / "a.html", source))
        assert record.fields["text"] == "a\ue000b \ue001 c \ufffd d\n\ne\n\ue001"

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
        path = write(tmp_path / name, source.encode(encoding))
        named = encoding if name.startswith("a.js") else None  # JSON is UTF-8 by its standard: no guess
        (record,) = read(path, encoding=named)
        assert isinstance(record, Record)
        assert record.fields["text"] == self.TEXT

    @pytest.mark.parametrize(
        ("text", "encoding"),
        [
            ("café", "latin-1"),
            ("Zażółć gęślą jaźń, proszę bardzo. Łódź leży w Polsce.", "cp1250"),
            ("Привет, как дела? Это текст на русском языке.", "cp1251"),
            (
                "日本語のテキストです。今日は天気がいいです。明日も晴れるでしょう。東京へ行って古い町を見ます。",
                "shift_jis",
            ),
            ("你好，世界。这是一个测试文本，用来检查编码。明天我们去北京看老城区，晚上会很冷，要带热茶。", "gb18030"),
            ("日本語のテキスト", "iso2022_jp"),
            ("£5 only: “really”, it’s cheap", "cp1252"),
            ("À la fête, où étiez-vous ? Le garçon a reçu une leçon sévère. " * 5 + "Fin.", "cp1252"),
            ("Příliš žluťoučký kůň úpěl ďábelské ódy.", "cp1250"),
            ("Čovjek je šetao kroz šumu i vidio žutu pticu. Đaci uče u školi ćirilicu.", "iso8859_2"),
            ("Bugün hava çok güzel, çocuklar bahçede oynuyor. Yarın eski şehri göreceğiz.", "cp1254"),
        ],
    )
    def test_legacy_encodings(self, tmp_path: Path, text: str, encoding: str) -> None:
        assert records(write(tmp_path / "a.txt", text.encode(encoding)))[0].fields["text"] == text

    @pytest.mark.parametrize(
        ("text", "encoding"),
        [
            ("Łódź", "cp1257"),
            ("안녕하세요", "cp949"),
            ("子们在花园里玩耍", "gb18030"),
            ("25°C", "cp1252"),
            ("дел", "koi8_r"),
            # Other code pages that are guessed give texts that nobody writes: "hyv„ p„iv„", "¹etao".
            ("Tänään on hyvä päivä. Äiti söi jäätelöä, mutta isä ei syönyt.", "cp850"),
            ("Perché la città è così bella? Però più tardi andrò giù.", "cp437"),
            ("Mauvaise références de renvoi: elles ont été supprimées.", "mac_roman"),
            (
                "Настройката на системата е завършена. Няма повече възможности за промяна, моля изчакайте.",
                "mac_cyrillic",
            ),
            ("Täna on väga ilus ilm. Õhtul lähme öö läbi tantsima, šokolaad on žanr.", "iso8859_15"),
            ("Здравей, как си? Това е текст на български език. Утре ще бъде нов ден.", "iso8859_5"),
            ("Apple – £5\n" * 9 + "Pear – £7", "big5"),
        ],
    )
    def test_what_does_not_tell_its_encoding_is_an_error(self, tmp_path: Path, text: str, encoding: str) -> None:
        path = write(tmp_path / "a.txt", text.encode(encoding))
        error = only_error(path)
        assert "is not UTF-8, and no other encoding is sure" in error.reason
        assert "--encoding" in error.reason
        (record,) = read(path, encoding=encoding)
        assert isinstance(record, Record)
        assert record.fields["text"] == text

    def test_a_guess_is_told_with_the_file(self, tmp_path: Path) -> None:
        write(tmp_path / "a.txt", self.TEXT.encode("cp1252"))
        write(tmp_path / "b.txt", self.TEXT)
        write(tmp_path / "sub" / "c.csv", f"text\n{self.TEXT}\n".encode("cp1252"))
        write(tmp_path / "d.html", f'<meta charset="latin-1"><p>{self.TEXT}'.encode("cp1252"))
        told: list[tuple[str, str]] = []
        assert len(list(read(tmp_path, on_guess=lambda *guess: told.append(guess)))) == 4
        assert told == [("a.txt", "cp1252"), ("sub/c.csv", "cp1252")]

    def test_a_byte_order_mark_is_above_a_named_encoding_and_that_above_what_html_declares(
        self, tmp_path: Path
    ) -> None:
        write(tmp_path / "a.txt", self.TEXT.encode("utf-8-sig"))
        write(tmp_path / "b.html", f'<meta charset="latin-1"><p>{self.TEXT}'.encode("cp850"))
        texts = [item.fields["text"] for item in read(tmp_path, encoding="cp850") if isinstance(item, Record)]
        assert texts == [self.TEXT] * 2

    @pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
    def test_a_bad_byte_in_utf8_is_named_and_nothing_is_guessed(self, tmp_path: Path, name: str) -> None:
        content = f"{self.TEXT}\n{self.TEXT}\n".encode()
        content += b"M\xe4rz"
        error = only_error(write(tmp_path / name, content))
        assert error.reason.startswith(f"byte {len(content) - 3} (0xe4) is not UTF-8; ")

    def test_a_bad_byte_after_a_byte_order_mark_is_named_where_it_is(self, tmp_path: Path) -> None:
        assert "byte 4 (0xe4)" in only_error(write(tmp_path / "a.txt", b"\xef\xbb\xbfM\xe4rz")).reason

    def test_escape_sequences_are_read_to_their_end_or_refused(self, tmp_path: Path) -> None:
        rows = "id,text\n" + "1,日本語のテキスト\n" * 5000
        assert len(records(write(tmp_path / "a.csv", rows.encode("iso2022_jp")))) == 5000
        error = only_error(write(tmp_path / "a.txt", b"hello \x1b$B$"))
        assert error.reason.startswith("byte 6 begins an ISO-2022 sequence that does not fit; ")
        assert records(write(tmp_path / "b.txt", "a \x1b[31mred\x1b[0m word"))

    def test_html_in_escape_sequences_is_what_it_declares(self, tmp_path: Path) -> None:
        page = '<meta charset="iso-2022-jp"><p>日本語'.encode("iso2022_jp")
        assert records(write(tmp_path / "a.html", page))[0].fields["text"] == "日本語"

    @pytest.mark.parametrize(
        ("declared", "text", "encoding"),
        [
            ("iso-8859-1", "it’s “cheap” – €5", "cp1252"),
            ("us-ascii", "it’s", "cp1252"),
            ("iso-8859-1", "\x81 é", "latin-1"),
            ("iso-8859-9", "“şey”", "cp1254"),
            ("shift_jis", "①日本語", "cp932"),
            ("x-sjis", "①日本語", "cp932"),
            ("gb2312", "朱镕基", "gb18030"),
            ("euc-kr", "똠방각하", "cp949"),
            ("utf-16", "À la fête, où étiez-vous ? Le garçon a reçu une leçon sévère.", "cp1252"),
        ],
    )
    def test_html_is_read_as_browsers_read_what_it_declares(
        self, tmp_path: Path, declared: str, text: str, encoding: str
    ) -> None:
        page = f'<meta charset="{declared}"><p>{text}'.encode(encoding)
        assert records(write(tmp_path / "a.html", page))[0].fields["text"] == text

    @pytest.mark.parametrize("name", ["latin1", "Windows-1252", "SJIS", "koi8-u", "utf-16-le"])
    def test_encodings_by_name(self, tmp_path: Path, name: str) -> None:
        text = {"SJIS": "日本", "koi8-u": "дім"}.get(name, "é")
        path = write(tmp_path / "a.jsonl", f'{{"text": "{text}"}}'.encode(name))
        (record,) = read(path, encoding=parse_encoding(name))
        assert isinstance(record, Record)
        assert record.fields["text"] == text

    @pytest.mark.parametrize("name", ["rot13", "base64", "punycode", "idna", "undefined", "", "a\0b", "unicode_escape"])
    def test_what_is_no_encoding_of_a_file(self, name: str) -> None:
        with pytest.raises(UnreadableFile, match="unknown encoding"):
            parse_encoding(name)

    def test_an_encoding_mistyped(self) -> None:
        with pytest.raises(UnreadableFile, match="did you mean 'shift_jis'"):
            parse_encoding("shift-jiss")

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
        assert [error.reason for error in errors] == ["the line is not valid utf-16"]


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
