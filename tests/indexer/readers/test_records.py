"""Formats of many records a file: NDJSON, JSON, CSV and TSV."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from indexer.readers import Format, read, read_stream, tables
from indexer.records import Origin, Shape
from tests.indexer.readers.reading import only_error, records, split_errors, write


def grown_by(path: Path, *, items: int, limit: int = tables.MAX_LINE_CHARACTERS) -> int:
    """KiB of memory that another process needs to read the file."""
    code = (
        "import sys; from pathlib import Path; from indexer.readers import read, tables\n"
        f"tables.MAX_LINE_CHARACTERS = {limit}\n"
        "status = Path('/proc/self/status')\n"  # getrusage has the most that the process had that began this one, too
        "def most(): return int(status.read_text().partition('VmHWM:')[2].split()[0])\n"
        "before = most()\n"
        f"assert sum(1 for _ in read(Path(sys.argv[1]))) == {items}\n"
        "print(most() - before)"
    )
    command = [sys.executable, "-c", code, str(path)]
    run = subprocess.run(command, cwd=Path(__file__).parents[3], check=True, capture_output=True)
    return int(run.stdout)


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
            ('{"n": ' + "9" * 5000 + "}", "broken JSON: an integer of too many digits; make it a text"),
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

    @pytest.mark.parametrize("bad", [b"\xe4", b"\xff\xfe", b"\x00", b"\xed\xa0\x80", b"\x1b$B"])
    @pytest.mark.parametrize("text", ["Grüße aus Köln", "plain", "日本語"])
    def test_one_bad_byte_costs_its_line_only(self, text: str, bad: bytes) -> None:
        lines = [json.dumps({"text": f"{text} {n}"}, ensure_ascii=False).encode() for n in range(300)]
        lines[7] = b'{"text": "M%srz"}' % bad
        good, errors = split_errors(read_stream(io.BytesIO(b"\n".join(lines)), format=Format.NDJSON))
        assert [record.fields["text"] for record in good] == [f"{text} {n}" for n in range(300) if n != 7]
        assert [error.origin and error.origin.line for error in errors] == [8]

    def test_bytes_are_never_guessed_to_be_another_encoding(self) -> None:
        lines = [json.dumps({"text": "Grüße"}, ensure_ascii=False).encode("cp1252")] * 20
        good, errors = split_errors(read_stream(io.BytesIO(b"\n".join(lines)), format=Format.NDJSON))
        assert (good, [error.reason for error in errors]) == ([], ["the line is not valid UTF-8"] * 20)

    @pytest.mark.parametrize("ending", ["\n", ""])
    def test_a_line_over_the_limit_is_passed_over(self, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
        monkeypatch.setattr(tables, "SKIPPED_CHARACTERS", 30)
        allowed = '{"text": "' + "c" * 38 + '"}'
        content = '{"text": "a"}\n{"text": "' + "b" * 500 + '"}\n' + allowed + ending
        stream = io.BytesIO(content.encode())
        good, errors = split_errors(read_stream(stream, format=Format.NDJSON, line_characters=50))
        assert len(allowed) == 50
        assert [(record.origin.line, record.fields["text"]) for record in good] == [(1, "a"), (3, "c" * 38)]
        assert [(error.code, error.origin and error.origin.line) for error in errors] == [("too_large", 2)]

    def test_memory_stays_flat(self, tmp_path: Path) -> None:
        path = tmp_path / "big.jsonl.gz"
        with gzip.open(path, "wt", compresslevel=1) as stream:
            for _ in range(60):
                stream.write(json.dumps({"text": "x" * 1_000_000}) + "\n")
        assert grown_by(path, items=60) <= 30_000


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

    def test_bytes_that_are_not_utf8_cost_their_item_only(self, tmp_path: Path) -> None:
        content = '[{"text": "ä"},\n{"text": "M%rz"},\n{"text": "b"}]'.encode().replace(b"%", b"\xe4")
        good, errors = split_errors(read(write(tmp_path / "a.json", content)))
        assert [record.fields["text"] for record in good] == ["ä", "b"]
        assert [str(error) for error in errors] == ["a.json, line 2: the item is not valid UTF-8"]
        (error,) = read(write(tmp_path / "b.json", b'{"text": "M\xe4rz"}'))
        assert str(error) == "b.json, line 1: the file is not valid UTF-8"
        good, errors = split_errors(read(write(tmp_path / "c.json", b'{"text": "a"}\n{"text": "M\xe4rz"}\n')))
        assert [record.fields["text"] for record in good] == ["a"]
        assert [str(error) for error in errors] == ["c.json, line 2: the line is not valid UTF-8"]

    def test_lines_under_the_name_of_json_are_in_the_encoding_of_the_file(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.json", b'{"text": "M\xe4rz"}\n{"text": "\x81"}\n{"text": "\xc3\xa4"}\n')
        good, errors = split_errors(read(path, encoding="cp1252"))
        assert [record.fields["text"] for record in good] == ["März", "Ã¤"]
        assert [str(error) for error in errors] == ["a.json, line 2: the line is not valid cp1252"]


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

    @pytest.mark.parametrize("header", ["id,,text", "id,text,id"])
    def test_a_header_must_name_every_column_once(self, tmp_path: Path, header: str) -> None:
        reason = only_error(write(tmp_path / "a.csv", f"{header}\n1,2,3\n")).reason
        assert reason.endswith("column 2 of 3 has no name" if ",," in header else "'id' comes twice")

    @pytest.mark.parametrize("content", ["\n", "\r\n \r\n", "sep=;\r\n", "\ufeff\n"])
    def test_a_file_without_a_header(self, tmp_path: Path, content: str) -> None:
        assert only_error(write(tmp_path / "a.csv", content)).reason == "the file has no header line"

    def test_blank_lines_before_the_header(self, tmp_path: Path) -> None:
        (record,) = records(write(tmp_path / "a.csv", "\n \r\n\nid,text\n1,a\n"))
        assert (record.fields, record.origin.line) == ({"id": "1", "text": "a"}, 5)

    def test_blank_lines_without_end_are_damage(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tables, "MAX_BLANK_LINES", 5)
        content = "id,text\n1,a\n" + "\n" * 5 + "2,b\n" + "\n" * 6 + "3,c\n"
        good, errors = split_errors(read_stream(io.BytesIO(content.encode()), format=Format.CSV))
        assert [record.fields["id"] for record in good] == ["1", "2"]
        assert [error.reason for error in errors] == ["5 blank lines in a row end at line 14: the file is damaged"]

    def test_the_delimiter_that_excel_names(self, tmp_path: Path) -> None:
        (record,) = records(write(tmp_path / "a.csv", "\ufeffsep=;\r\nid;text, more, and more\r\n1;a\r\n"))
        assert (record.fields, record.origin.line) == ({"id": "1", "text, more, and more": "a"}, 3)

    def test_delimiters_within_quotes_do_not_count(self, tmp_path: Path) -> None:
        content = 'id;"text, with ""many"", commas, in it";n\n1;a;2\n'
        (record,) = records(write(tmp_path / "a.csv", content))
        assert record.fields == {"id": "1", 'text, with "many", commas, in it': "a", "n": "2"}

    def test_a_header_over_two_lines(self, tmp_path: Path) -> None:
        (record,) = records(write(tmp_path / "a.csv", 'id,"text\nof it"\n1,a\n'))
        assert (record.fields, record.origin.line) == ({"id": "1", "text\nof it": "a"}, 3)

    def test_a_header_in_another_encoding(self, tmp_path: Path) -> None:
        content = "größe,höhe,".encode() + b"l\xe4nge\n1,2,3\n"
        assert only_error(write(tmp_path / "a.csv", content)).reason == "line 1: the header is not valid UTF-8"

    def test_a_row_in_another_encoding_costs_itself_only(self, tmp_path: Path) -> None:
        content = "id,text\n1,Grüße\n2,M%rz\n3,Köln\n".encode().replace(b"%", b"\xe4")
        good, errors = split_errors(read(write(tmp_path / "a.csv", content)))
        assert [record.fields["id"] for record in good] == ["1", "3"]
        assert [str(error) for error in errors] == ["a.csv, line 3: the row is not valid UTF-8"]

    def test_a_row_over_the_limit_costs_itself_only(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tables, "MAX_LINE_CHARACTERS", 50)
        content = f'id,text\n1,a\n2,{"b" * 500}\n3,"{"c," * 100}"\n4,d\n5,"{"e" * 20}\n{"e" * 40}"\n6,f\n'
        good, errors = split_errors(read(write(tmp_path / "a.csv", content)))
        assert [(record.fields["id"], record.origin.line) for record in good] == [("1", 2), ("4", 5), ("6", 8)]
        assert [(error.code, error.origin and error.origin.line) for error in errors] == [
            ("too_large", 3),
            ("too_large", 4),
            ("too_large", 6),
        ]

    def test_what_follows_a_row_that_is_too_long_and_open_is_not_taken_for_rows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tables, "MAX_LINE_CHARACTERS", 50)
        content = f'id,text\n1,a\n2,"{"b" * 60}\n3,c\n'
        good, errors = split_errors(read(write(tmp_path / "a.csv", content)))
        assert [record.fields["id"] for record in good] == ["1"]
        assert [error.origin and error.origin.line for error in errors] == [3]
        assert "what comes after it was not read" in errors[0].reason

    def test_a_cell_of_a_megabyte(self, tmp_path: Path) -> None:
        assert len(records(write(tmp_path / "a.csv", "text\n" + "x" * 1_000_000))[0].fields["text"]) == 1_000_000

    @pytest.mark.parametrize("row", ["x" * 100_000_000, '"' + "x\n" * 50_000_000 + '"'])
    def test_memory_does_not_grow_with_a_row(self, tmp_path: Path, row: str) -> None:
        path = write(tmp_path / "a.csv.gz", gzip.compress(f"text\n{row}\n".encode(), compresslevel=1))
        assert grown_by(path, items=1, limit=1_000_000) <= 40_000
