"""Readers: every format, gzip, folders, and the ways in which files are broken."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fpdf import FPDF

from core.errors import UnreadableFile
from indexer.readers import Format, files, read, read_stream, tables
from indexer.readers.formats import parse_format, sniff
from indexer.records import Origin, Record, RecordError, Shape, Skipped


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def records(path: Path, format: Format | None = None) -> list[Record]:
    found = list(read(path, format=format))
    assert all(isinstance(item, Record) for item in found), found
    return [item for item in found if isinstance(item, Record)]


def only_error(path: Path, format: Format | None = None) -> RecordError:
    (error,) = read(path, format=format)
    assert isinstance(error, RecordError)
    return error


def split_errors(items: Iterator[Record | RecordError | Skipped]) -> tuple[list[Record], list[RecordError]]:
    found = list(items)
    return (
        [item for item in found if isinstance(item, Record)],
        [item for item in found if isinstance(item, RecordError)],
    )


def pdf(*pages: str, title: str = "", password: str | None = None) -> bytes:
    document = FPDF()
    document.set_font("Helvetica", size=12)
    if title:
        document.set_title(title)
    for page in pages:
        document.add_page()
        document.multi_cell(0, 6, page)
    if password is not None:
        document.set_encryption(owner_password="owner", user_password=password)
    return bytes(document.output())


class TestNdjson:
    def test_a_broken_line_costs_itself_only(self, tmp_path: Path) -> None:
        lines = [json.dumps({"id": i, "text": f"text {i}"}) for i in range(1, 11)]
        lines[6] = '{"id": 7, "text": '
        good, errors = split_errors(read(write(tmp_path / "ten.jsonl", "\n".join(lines))))
        assert [record.fields["id"] for record in good] == [1, 2, 3, 4, 5, 6, 8, 9, 10]
        assert [record.origin.line for record in good] == [1, 2, 3, 4, 5, 6, 8, 9, 10]
        (error,) = errors
        assert error.origin == Origin(path="ten.jsonl", line=7)
        assert error.code == "invalid_document"
        assert "broken JSON" in error.reason

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("[1, 2]", "must be a JSON object"),
            ("42", "must be a JSON object"),
            ('{"price": NaN}', "NaN is not JSON"),
            ("[" * 100_000, "nested too deeply"),
            ('{"n": ' + "9" * 5000 + "}", "broken JSON"),
        ],
    )
    def test_a_line_that_is_no_object(self, tmp_path: Path, line: str, reason: str) -> None:
        good, errors = split_errors(read(write(tmp_path / "a.ndjson", f'{{"text": "a"}}\n{line}\n\n{{"text": "b"}}\n')))
        assert [record.fields["text"] for record in good] == ["a", "b"]
        assert [str(error.origin) for error in errors] == ["a.ndjson, line 2"]
        assert reason in errors[0].reason

    def test_a_line_in_another_encoding_costs_itself_only(self, tmp_path: Path) -> None:
        filler = b'{"text": "%s"}\n' % (b"x" * 70_000)  # so that the sample which is looked at is UTF-8
        good, errors = split_errors(read(write(tmp_path / "a.jsonl", filler + b'{"text": "caf\xe9"}\n{"text": "b"}')))
        assert len(good) == 2
        assert [(error.origin and error.origin.line, error.reason) for error in errors] == [
            (2, "the line is not valid UTF-8")
        ]

    def test_a_line_over_the_limit_is_passed_over(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tables, "MAX_LINE_CHARACTERS", 50)
        content = '{"text": "a"}\n{"text": "' + "b" * 500 + '"}\n{"text": "c"}\n'
        good, errors = split_errors(read(write(tmp_path / "a.jsonl", content)))
        assert [(record.origin.line, record.fields["text"]) for record in good] == [(1, "a"), (3, "c")]
        assert [(error.code, error.origin and error.origin.line) for error in errors] == [("too_large", 2)]

    def test_memory_stays_flat(self, tmp_path: Path) -> None:
        path = tmp_path / "big.jsonl.gz"
        with gzip.open(path, "wt", compresslevel=1) as stream:
            for _ in range(60):
                stream.write(json.dumps({"text": "x" * 1_000_000}) + "\n")
        code = (
            "import resource, sys; from pathlib import Path; from indexer.readers import read\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "assert sum(1 for _ in read(Path(sys.argv[1]))) == 60\n"
            "sys.exit((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) > 30_000)"
        )
        root = Path(__file__).parents[2]
        assert subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, check=False).returncode == 0


class TestJson:
    def test_a_list_with_the_lines_of_its_items(self, tmp_path: Path) -> None:
        found = records(write(tmp_path / "a.json", '[\n{"text": "a"},\n\n {"text":\n "b"}\n]\n'))
        assert [(record.origin.line, record.fields["text"]) for record in found] == [(2, "a"), (4, "b")]

    def test_one_object(self, tmp_path: Path) -> None:
        assert records(write(tmp_path / "a.json", '{"text": "a"}'))[0].fields == {"text": "a"}

    def test_an_empty_list(self, tmp_path: Path) -> None:
        assert records(write(tmp_path / "a.json", " [ ] ")) == []

    def test_lines_under_the_name_of_json(self, tmp_path: Path) -> None:
        found = records(write(tmp_path / "a.json", '{"text": "ä"}\n{"text": "b"}\n'))
        assert [(record.origin.line, record.fields["text"]) for record in found] == [(1, "ä"), (2, "b")]

    @pytest.mark.parametrize(
        ("content", "line", "arrived"),
        [
            ('[{"text": "a"},\n{"text": }, {"text": "c"}]', 2, 1),
            ('[{"text": "a"}\n{"text": "b"}]', 2, 1),
            ('[{"text": "a"}', 1, 1),
            ('[{"text": "a"}] x', 1, 1),
            ('{"text": ', 1, 0),
            ("hello", 1, 0),
            ("[,]", 1, 0),
        ],
    )
    def test_what_comes_before_an_error_arrives(self, tmp_path: Path, content: str, line: int, arrived: int) -> None:
        good, errors = split_errors(read(write(tmp_path / "a.json", content)))
        assert len(good) == arrived
        assert [error.origin and error.origin.line for error in errors] == [line]

    def test_an_item_that_is_no_object_costs_itself_only(self, tmp_path: Path) -> None:
        good, errors = split_errors(read(write(tmp_path / "a.json", '[{"text": "a"}, 5, {"text": "b"}]')))
        assert len(good) == 2
        assert len(errors) == 1


class TestTables:
    def test_quotes_lines_within_cells_and_empty_cells(self, tmp_path: Path) -> None:
        found = records(write(tmp_path / "a.csv", 'id,text,price\r\n1,"two\r\nlines, ""quoted""",\r\n2,b,7\r\n'))
        assert [record.fields for record in found] == [
            {"id": "1", "text": 'two\r\nlines, "quoted"'},
            {"id": "2", "text": "b", "price": "7"},
        ]
        assert [record.origin.line for record in found] == [2, 4]
        assert {record.shape for record in found} == {Shape.TABLE}

    @pytest.mark.parametrize("delimiter", [";", "|", "\t", ","])
    def test_the_delimiter_is_told_by_the_header(self, tmp_path: Path, delimiter: str) -> None:
        content = f"id{delimiter}text\n1{delimiter}a b\n"
        assert records(write(tmp_path / "a.csv", content))[0].fields == {"id": "1", "text": "a b"}

    def test_tab_separated(self, tmp_path: Path) -> None:
        assert records(write(tmp_path / "a.tsv", "id\ttext\n1\ta, b; c\n"))[0].fields["text"] == "a, b; c"

    def test_broken_rows_cost_themselves_only(self, tmp_path: Path) -> None:
        good, errors = split_errors(read(write(tmp_path / "a.csv", 'id,text\n1,a\n2,b,c\n3,"x"y\n4,d\n')))
        assert [record.fields["id"] for record in good] == ["1", "4"]
        assert [error.origin and error.origin.line for error in errors] == [3, 4]
        assert "3 cells, but the header has 2" in errors[0].reason

    def test_an_unclosed_quote_is_reported_where_it_opens(self, tmp_path: Path) -> None:
        good, errors = split_errors(read(write(tmp_path / "a.csv", 'id,text\n1,a\n2,"b\n3,c\n')))
        assert [record.fields["id"] for record in good] == ["1"]
        assert [error.origin and error.origin.line for error in errors] == [3]

    @pytest.mark.parametrize("header", ["id,,text", "id,text,id", "\n"])
    def test_a_header_must_name_every_column_once(self, tmp_path: Path, header: str) -> None:
        assert "header" in only_error(write(tmp_path / "a.csv", f"{header}\n1,2,3\n")).reason

    def test_a_cell_of_a_megabyte(self, tmp_path: Path) -> None:
        assert len(records(write(tmp_path / "a.csv", "text\n" + "x" * 1_000_000))[0].fields["text"]) == 1_000_000


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
            "<ul><li>one<li>two</ul><noscript>no</noscript></body></html>"
        )
        (record,) = records(write(tmp_path / "a.html", source))
        assert record.fields["title"] == "My page"
        assert record.fields["text"] == "Head\n\nFirst bold text.\nLine.\n\nSecond & last.\n\na\nb\n\none\n\ntwo"

    def test_html_says_its_encoding(self, tmp_path: Path) -> None:
        source = '<html><head><meta charset="iso-8859-2"><title>Łódź</title></head><body>Zażółć</body></html>'
        (record,) = records(write(tmp_path / "a.html", source.encode("iso-8859-2")))
        assert (record.fields["title"], record.fields["text"]) == ("Łódź", "Zażółć")

    def test_xhtml_and_deep_nesting(self, tmp_path: Path) -> None:
        source = '<?xml version="1.0" encoding="utf-8"?><html><body>' + "<div>" * 3000 + "deep" + "</div>" * 3000
        (record,) = records(write(tmp_path / "a.xhtml", source))
        assert record.fields["title"] == "a"
        assert record.fields["text"] == "deep"

    def test_html_costs_time_in_proportion(self, tmp_path: Path) -> None:
        def seconds(paragraphs: int) -> float:
            path = write(tmp_path / f"{paragraphs}.html", "<p>Some <b>bold</b> text.</p>" * paragraphs)
            begin = time.process_time()
            assert records(path)[0].fields["text"].count("Some bold text.") == paragraphs
            return time.process_time() - begin

        assert seconds(8_000) < 8 * seconds(1_000) * 2.5 + 0.1

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


class TestFolders:
    def test_sorted_recursive_without_hidden_files(self, tmp_path: Path) -> None:
        for name in ("b.txt", "a/z.txt", "a/b/c.md", ".hidden.txt", ".git/x.txt", "c.txt.gz"):
            write(tmp_path / name, gzip.compress(b"x") if name.endswith(".gz") else "x")
        assert [record.fields["id"] for record in records(tmp_path)] == ["a/b/c.md", "a/z.txt", "b.txt", "c.txt.gz"]

    def test_unknown_extensions_are_named_once(self, tmp_path: Path) -> None:
        for name in ("a.exe", "b.exe", "sub/c.EXE", "Makefile", "d.txt"):
            write(tmp_path / name, "x")
        skipped = [item for item in read(tmp_path) if isinstance(item, Skipped)]
        assert sorted((item.path, item.count) for item in skipped) == [("Makefile", 1), ("a.exe", 3)]

    def test_only_one_format(self, tmp_path: Path) -> None:
        write(tmp_path / "a.md", "x")
        write(tmp_path / "b.txt", "x")
        found = list(read(tmp_path, format=Format.MARKDOWN))
        assert [item.fields["id"] for item in found if isinstance(item, Record)] == ["a.md"]
        assert [item.path for item in found if isinstance(item, Skipped)] == ["b.txt"]

    def test_loops_of_links(self, tmp_path: Path) -> None:
        write(tmp_path / "a/x.txt", "x")
        (tmp_path / "a/up").symlink_to(tmp_path)
        (tmp_path / "self").symlink_to("self")
        (tmp_path / "gone.txt").symlink_to("nowhere")
        found = list(read(tmp_path))
        assert [item.fields["id"] for item in found if isinstance(item, Record)] == ["a/x.txt"]
        assert [item.path for item in found if isinstance(item, Skipped)] == ["a/up"]
        assert {str(item.origin) for item in found if isinstance(item, RecordError)} == {"self", "gone.txt"}

    def test_a_name_that_is_no_text(self, tmp_path: Path) -> None:
        try:
            Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("x")
        except OSError:
            return  # a file system that refuses such names
        (error,) = read(tmp_path)
        assert str(error) == "caf\ufffd.txt: the name is not valid UTF-8; rename it"

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.txt")
        (item,) = read(tmp_path)
        assert item == Skipped(path="a.txt", reason="neither a file nor a folder")

    def test_a_broken_file_costs_itself_only(self, tmp_path: Path) -> None:
        write(tmp_path / "a.pdf", b"no pdf")
        write(tmp_path / "b.txt", "")
        write(tmp_path / "c.txt", "text")
        good, errors = split_errors(read(tmp_path))
        assert [record.fields["id"] for record in good] == ["c.txt"]
        assert [(str(error.origin), error.code) for error in errors] == [
            ("a.pdf", "unreadable_file"),
            ("b.txt", "unreadable_file"),
        ]
        assert errors[1].reason == "the file is empty"

    def test_without_permission(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o755)
            write(folder / "a.txt", "x").chmod(0)
            write(folder / "b.txt", "x")
            write(folder / "sub/c.txt", "x").parent.chmod(0)
            user = os.geteuid()
            if user == 0:
                os.seteuid(65534)  # root may read everything
            try:
                good, errors = split_errors(read(folder))
            finally:
                if user == 0:
                    os.seteuid(0)
                (folder / "sub").chmod(stat.S_IRWXU)
        assert [record.fields["id"] for record in good] == ["b.txt"]
        assert [(str(error.origin), error.reason) for error in errors] == [
            ("a.txt", "permission denied"),
            ("sub", "permission denied"),
        ]


class TestStreams:
    @pytest.mark.parametrize(
        ("content", "format"),
        [
            (b'{"text": "a"}\n{"text": "b"}', Format.NDJSON),
            (b'\xef\xbb\xbf{"text":\n "a"}', Format.JSON),
            (b' \n[{"text": "a"}]', Format.JSON),
            (b"<!DOCTYPE html><p>x", Format.HTML),
            ("<html>x".encode("utf-16"), Format.HTML),
            (b"%PDF-1.4", Format.PDF),
            (b"just text", Format.TEXT),
        ],
    )
    def test_sniffed(self, content: bytes, format: Format) -> None:
        assert sniff(content) is format

    def test_a_stream_without_a_format(self) -> None:
        found = list(read_stream(io.BytesIO(gzip.compress(b'{"text": "a"}\n{"text": "b"}\n'))))
        assert [str(item.origin) for item in found] == ["stdin, line 1", "stdin, line 2"]

    def test_a_named_format_wins(self) -> None:
        (record,) = read_stream(io.BytesIO(b"text\n{}\n"), format=Format.CSV, name="upload")
        assert isinstance(record, Record)
        assert record.fields == {"text": "{}"}

    def test_a_pipe_in_small_pieces(self) -> None:
        ours, theirs = os.pipe()
        with os.fdopen(ours, "rb", buffering=0) as stream:
            for piece in (b'{"te', b'xt": "a"}\n{"text"', b': "b"}'):
                os.write(theirs, piece)
            os.close(theirs)
            assert len(list(read_stream(stream))) == 2  # unbuffered: it reads short

    def test_an_empty_stream(self) -> None:
        (error,) = read_stream(io.BytesIO(b""))
        assert isinstance(error, RecordError)
        assert error.reason == "the file is empty"


def test_a_missing_path_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "products.jsonl", "{}")
    with pytest.raises(UnreadableFile, match=r"did you mean .*products\.jsonl"):
        read(tmp_path / "product.jsonl")
    with pytest.raises(UnreadableFile, match="nor is there a folder"):
        read(tmp_path / "no/such")


def test_an_unknown_format_names_the_known() -> None:
    assert parse_format("CSV") is Format.CSV
    with pytest.raises(UnreadableFile, match=r"allowed are ndjson.*did you mean 'markdown'"):
        parse_format("markdwn")
