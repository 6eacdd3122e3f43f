"""Folders, standard input, and paths that lead nowhere."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tempfile
from pathlib import Path

import pytest

from core.errors import UnreadableFile
from indexer.readers import Format, read, read_stream
from indexer.readers.formats import parse_format, sniff
from indexer.records import Record, RecordError, Skipped
from tests.indexer.readers.reading import records, split_errors, write


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
            ('{"text": "a"}\n{"text": "b"}'.encode("utf-32"), Format.NDJSON),
            (b"%PDF-1.4", Format.PDF),
            (b"just text", Format.TEXT),
            (b'{"a":' + b"[" * 5000, Format.JSON),
        ],
    )
    def test_sniffed(self, content: bytes, format: Format) -> None:
        assert sniff(content) is format

    def test_a_stream_without_a_format(self) -> None:
        found = list(read_stream(io.BytesIO(gzip.compress(b'{"text": "a"}\n{"text": "b"}\n'))))
        assert [str(item.origin) for item in found] == ["stdin, line 1", "stdin, line 2"]

    @pytest.mark.parametrize("head", [b'{"a":' + b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}\n{}"])
    def test_a_first_line_that_cannot_be_read_is_an_error_of_the_stream(self, head: bytes) -> None:
        (error,) = read_stream(io.BytesIO(head))
        assert isinstance(error, RecordError)
        assert error.reason.startswith("broken JSON: ")

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
