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

    @pytest.mark.parametrize("ending", ["\n", ""])
    def test_a_line_over_the_limit_is_passed_over(self, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
        monkeypatch.setattr(tables, "_SKIPPED_CHARACTERS", 30)
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
        code = (
            "import resource, sys; from pathlib import Path; from indexer.readers import read\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "assert sum(1 for _ in read(Path(sys.argv[1]))) == 60\n"
            "sys.exit((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) > 30_000)"
        )
        root = Path(__file__).parents[3]
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
