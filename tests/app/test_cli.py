from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from app.cli.collections import create
from app.schemas.collections import SettingsBody
from app.wiring import Wiring
from core.records import Collection, CollectionSettings

Salience = Callable[..., tuple[int, str, str]]


@pytest.fixture
def goods(salience: Salience, tmp_path: Path) -> Salience:
    """The command line over a data directory with the collection "goods" of three products."""
    file = tmp_path / "goods.csv"
    file.write_text(
        "sku,name,description,price\n"
        'c1,Console,"A gaming console: play games on your TV with friends.",299\n'
        "t1,Television,A TV with a bright screen for films.,499\n"
        "r1,Radio,A radio for the kitchen. It wakes you up.,49\n"
    )
    code, out, err = salience("add", str(file), "-c", "goods", "--id-field", "sku", "--text-field", "description")
    assert (code, out) == (0, "goods: 3 created\n")
    assert "created the collection 'goods'" in err
    return salience


def search(salience: Salience, *arguments: str) -> dict[str, Any]:
    code, out, _ = salience("search", *arguments, "-c", "goods", "--json")
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    return found


def test_search_prints_hits_without_colour_in_a_pipe(goods: Salience) -> None:
    code, out, err = goods("search", "play games", "-c", "goods")
    assert (code, err) == (0, "")
    first = out.splitlines()[0]
    assert first.startswith(" 1  ")
    assert "Console" in first
    assert "c1" in first
    assert "\x1b" not in out
    assert "play games on your TV" in out


def test_a_search_can_be_said_as_the_api_takes_it(goods: Salience, tmp_path: Path) -> None:
    file = tmp_path / "body.json"
    file.write_text(json.dumps({"query": "play games", "phrases": ["gaming console"], "k": 2}))
    code, out, err = goods("search", "--body", str(file), "-c", "goods", "--json")
    assert code == 0, err
    assert [hit["document_id"] for hit in json.loads(out)["hits"]] == ["c1"]
    for wrong, said in (
        ("[]", "must hold an object"),
        ("{", "not JSON"),
        ('{"k": 0}', "k is 0"),
        ('{"qu": 1}', "unknown key 'qu'"),
        ('{"query": "x", "controls": [{"start": "0", "length": 1, "factor": 2}]}', "error: controls[0].start: Input"),
        ('{"query": "x", "min_scores": {"spare": 1}}', "error: min_scores.spare: Input"),
    ):
        file.write_text(wrong)
        code, _, err = goods("search", "--body", str(file), "-c", "goods")
        assert (code, said in err) == (1, True), err
    for given, named in ((["-k", "3"], "--k"), (["--explain", "words"], "--explain"), (["radio"], "the query")):
        code, _, err = goods("search", "--body", str(file), *given, "-c", "goods")
        assert (code, f"leave out {named}, and say it there" in err) == (1, True), err


def test_steering_from_the_command_line(goods: Salience) -> None:
    plain = search(goods, "I want to play on my TV.")
    boosted = search(goods, "I want to play^7 on my TV.")
    emphasised = search(goods, "I want to play on my TV.", "--emphasis", "play=7")

    def lead(result: dict[str, Any]) -> float:
        dense = {hit["document_id"]: hit["scores"]["dense"]["raw"] for hit in result["hits"]}
        return float(dense["c1"] - dense["t1"])

    assert [hit["score"] for hit in boosted["hits"]] == [hit["score"] for hit in emphasised["hits"]]
    assert lead(boosted) > lead(plain)
    literal = search(goods, "I want to play^7 on my TV.", "--no-boosts")
    assert literal["query"] == "I want to play^7 on my TV."


def test_filter_leg_and_fusion_options(goods: Salience) -> None:
    found = search(goods, "TV", "--filter", '{"price": {"lt": 400}}', "--leg", "sparse", "-k", "2")
    assert [hit["document_id"] for hit in found["hits"]] == ["c1"]
    assert found["legs"] == ["sparse"]
    assert search(goods, "TV", "--fusion", "rrf")["fusion"]["method"] == "rrf"


def test_explain_shows_numbers_that_add_up(goods: Salience) -> None:
    hit = search(goods, "play games")["hits"][0]
    code, out, _ = goods("explain", "play games", hit["document_id"], "-c", "goods", "--full")
    assert code == 0
    ledger = out.partition("What the query's words brought")[0]
    tree = [line for line in ledger.splitlines() if line.lstrip("│├└─ ").startswith(("+", "-")) and "  " in line]
    depth = [len(line) - len(line.lstrip("│├└─ ")) for line in tree]
    values = [float(line.lstrip("│├└─ ").split()[0]) for line in tree]
    assert math.isclose(values[0], hit["score"], abs_tol=1e-6)
    leaves = [
        value for place, value in enumerate(values) if place + 1 == len(values) or depth[place + 1] <= depth[place]
    ]
    assert math.isclose(math.fsum(leaves), hit["score"], abs_tol=1e-4)


def test_the_short_ledger_adds_up_too(goods: Salience) -> None:
    hit = search(goods, "play games")["hits"][0]
    code, out, _ = goods("explain", "play games", f"#{hit['id']}", "-c", "goods")
    assert code == 0
    assert "more words (--full)" in out
    assert "-0.000000" not in out


def test_without_a_hit_the_best_one_is_explained(goods: Salience) -> None:
    hit = search(goods, "play games")["hits"][0]
    best = goods("explain", "play games", "-c", "goods")
    assert best == goods("explain", "play games", hit["document_id"], "-c", "goods")
    assert best == goods("explain", "play games", f"#{hit['id']}", "-c", "goods")


@pytest.mark.parametrize("command", [("search", "x"), ("explain", "x"), ("delete", "x"), ("collections", "list")])
def test_what_only_reads_creates_no_data_directory(goods: Salience, tmp_path: Path, command: tuple[str, ...]) -> None:
    code, out, err = goods(*command, "--data-dir", str(tmp_path / "mistyped"))
    assert (code, out) == (1, "")
    assert "there is no data directory" in err
    assert not (tmp_path / "mistyped").exists()


def test_errors_go_to_standard_error_and_the_rest_goes_on(goods: Salience, tmp_path: Path) -> None:
    lines = [json.dumps({"id": n, "text": f"Article {n}"}) for n in range(1, 11)]
    lines[6] = "{broken"
    (tmp_path / "ten.jsonl").write_text("\n".join([*lines, json.dumps({"id": 1, "text": "Article 1, again"})]))
    code, out, err = goods("add", str(tmp_path / "ten.jsonl"), "-c", "ten")
    assert code == 1
    assert out == "ten: 9 created, 1 failed\n"
    assert "ten.jsonl, line 7: " in err
    assert "the id '1' came before; the last one counts" in err
    code, out, _ = goods("add", str(tmp_path / "ten.jsonl"), "-c", "ten", "--json")
    report = json.loads(out)
    assert (code, report["unchanged"], report["tokens"]) == (1, 9, 0)


def test_a_guessed_encoding_is_told_and_another_can_be_named(salience: Salience, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_bytes("Müller fährt nach Köln. Grüße!".encode("cp1252"))
    (folder / "b.txt").write_text("Müller fährt nach Köln. Grüße!")
    code, _, err = salience("add", str(folder), "-c", "notes")
    assert code == 0
    assert "a.txt is not UTF-8 and was read as cp1252, a guess; if it is another encoding" in err
    assert "b.txt" not in err
    code, out, _ = salience("add", str(folder / "a.txt"), "-c", "notes", "--json")
    report = json.loads(out)
    assert (report["unchanged"], report["guessed_encodings"]) == (1, [{"path": "a.txt", "encoding": "cp1252"}])
    (folder / "b.txt").unlink()
    code, out, err = salience("add", str(folder), "-c", "notes", "--json", "--encoding", "windows-1251")
    report = json.loads(out)
    assert (code, report["replaced"], report["guessed_encodings"]) == (0, 1, [])


def test_ids_that_are_none_are_counted_and_not_told_line_by_line(goods: Salience, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("id,text\n" + "".join(f"red,Row {n} of red things.\n" for n in range(500)))
    code, out, err = goods("add", str(file), "-c", "rows")
    assert (code, out.startswith("rows: 1 created")) == (0, True)
    assert err.count("the id 'red' came before") == 10
    assert "499 documents in all have an id that came before; the last one of each id counts" in err
    assert "--id-field" in err


def test_titles_without_text_are_pointed_out(goods: Salience, tmp_path: Path) -> None:
    file = tmp_path / "lamps.csv"
    file.write_text("name,details,price\nLamp,Warm light for a desk.,19\nTorch,A bright light.,9\n")
    code, out, err = goods("add", str(file), "-c", "lamps")
    assert (code, out) == (0, "lamps: 2 created\n")
    assert "2 records have a title and no text" in err
    assert "--text-field" in err
    assert "'details', 'price'" in err
    _, found, _ = goods("search", "Lamp", "-c", "lamps", "-k", "1")
    assert found.count("\n") == 2  # the hit's line, and the blank one behind it
    assert "no text" not in goods("add", str(file), "-c", "lamps", "--text-field", "details")[2]


def test_delete_says_what_was_not_there(goods: Salience) -> None:
    assert goods("delete", "r1", "nothing", "-c", "goods")[:2] == (1, "goods: 1 deleted, 1 not there\n")
    assert "Radio" not in goods("search", "radio", "-c", "goods")[1]


def test_a_dry_run_says_what_a_filter_would_delete_and_deletes_nothing(goods: Salience) -> None:
    asked = ("delete", "--filter", "price > 100", "-c", "goods")
    assert goods(*asked, "--dry-run")[:2] == (0, "goods: 2 would be deleted\n")
    assert goods(*asked)[:2] == (0, "goods: 2 deleted\n")
    assert goods("delete", "r1", "--dry-run", "-c", "goods")[0] == 1


def test_collections(goods: Salience) -> None:
    assert goods("collections", "create", "produkte", "--language", "de")[0] == 0
    listed = json.loads(goods("collections", "list", "--json")[1])
    assert [(one["name"], one["documents"]) for one in listed] == [("goods", 3), ("produkte", 0)]
    assert "language         de" in goods("collections", "show", "produkte")[1]
    assert goods("collections", "delete", "goods", "--yes")[1] == "deleted goods with 3 documents\n"
    assert "goods" not in goods("collections", "list")[1]


def test_a_collection_is_created_with_every_setting_that_the_api_takes(salience: Salience, tmp_path: Path) -> None:
    assert SettingsBody.model_fields.keys() <= signature(create).parameters.keys()
    file = tmp_path / "synonyms.txt"
    file.write_text("laptop, notebook\n")
    given = ("--alpha", "0.3", "--k1", "0.9", "--b", "0.4", "--synonym", "pc => computer", "--synonyms", str(file))
    assert salience("collections", "create", "plain")[0] == 0
    assert salience("collections", "create", "tuned", *given)[0] == 0
    plain, tuned = (json.loads(salience("collections", "show", name, "--json")[1]) for name in ("plain", "tuned"))
    default = SettingsBody(sparse="bm25").model_dump()
    words = {"laptop": ["notebook"], "notebook": ["laptop"], "pc": ["computer"]}
    assert plain["settings"] == default
    assert tuned["settings"] == {**default, "alpha": 0.3, "k1": 0.9, "b": 0.4, "synonyms": words}
    for option, value in (("alpha", "2"), ("k1", "11"), ("b", "-1"), ("synonym", "tv")):
        code, _, err = salience("collections", "create", "none", f"--{option}", value)
        assert code != 0
        assert option in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", "x", "-c", "godos"], "did you mean 'goods'?"),
        (["search", "", "-c", "goods"], "query is empty"),
        (["search", "a\udcffb", "-c", "goods"], "surrogate"),
        (["search", "x", "-c", "goods", "-k", "0"], "k is 0; allowed are 1 to 1000"),
        (["search", "x", "-c", "goods", "--fusion", "best"], "unknown fusion 'best'; allowed are"),
        (["search", "x", "-c", "goods", "--alpha", "nan"], "alpha"),
        (["search", "x", "-c", "goods", "--leg", "spare"], "legs"),
        (["search", "x", "-c", "goods", "--target", "all"], "target"),
        (["search", "x", "-c", "goods", "--emphasis", "x"], "write it as WORD=FACTOR"),
        (["search", "x", "-c", "goods", "--emphasis", "x=-11"], "a factor from -10 to 1000"),
        (["search", "x", "-c", "goods", "--emphasis", "x=inf"], "a factor from -10 to 1000"),
        (["search", "x", "-c", "goods", "--emphasis", "y=2"], "its words are 'x'"),
        (["search", "x", "-c", "goods", "--filter", "{"], "--filter is not JSON"),
        (["search", "x", "-c", "goods", "--rerank-depth", "-7"], "--rerank-depth needs --rerank"),
        (["explain", "x", "-c", "goods", "--rerank-weight", "0.5"], "--rerank-weight needs --rerank"),
        (["search", "x", "-c", "goods", "--filter", '{"colour": 1}'], "colour"),
        (["search", "x", "-c", "goods", "--like", f"#{'9' * 5000}"], "there is no document"),
        (["key", "create", "x", "--role", "admin", "--limit", "passages=1", "--limit", "passages=2"], "given twice"),
        (["explain", "x", "#999999", "-c", "goods"], "passage 999999"),
        (
            ["explain", "x", "1", "-c", "goods"],
            "no document '1' in this collection; the hit 1 is named by a number, ",
        ),
        (["explain", "x", "c1", "--above", "nobody", "-c", "goods"], "above: there is no document 'nobody'"),
        (["search", "--like", "1", "-c", "goods"], "on the command line by '#1'"),
        (["add", "no-such-file.csv"], "no such file or folder"),
        (["add", "x.csv", "--format", "jsn"], "did you mean 'json'?"),
        (["add", "x.csv", "--encoding", "windows-125"], "did you mean 'windows_125"),
        (["collections", "show", "none"], "there is no collection 'none'"),
        (["collections", "create", "a b"], "must be 1 to 128"),
        (["collections", "create", "n", "--language", "xx"], "xx"),
        (["eval", "no-such-folder"], "no such folder"),
    ],
)
def test_mistakes_are_answered_in_one_line(goods: Salience, arguments: list[str], said: str) -> None:
    code, out, err = goods(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert said in err
    assert "Traceback" not in err


def test_a_file_for_a_data_directory_is_refused(goods: Salience, tmp_path: Path) -> None:
    code, _, err = goods("collections", "list", "--data-dir", str(tmp_path / "goods.csv"))
    assert code == 1
    assert "goods.csv" in err


def test_unknown_environment_variables_are_refused(goods: Salience, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALIENCE_DATADIR", "x")
    code, _, err = goods("collections", "list", "-d", "y")
    assert code == 1
    assert "did you mean SALIENCE_DATA_DIR?" in err


def test_control_characters_of_documents_do_not_reach_the_terminal(goods: Salience, tmp_path: Path) -> None:
    (tmp_path / "trap.json").write_text(json.dumps([{"id": "t\x1b[2J", "text": "Play \x1b]0;title\x07 games"}]))
    assert goods("add", str(tmp_path / "trap.json"), "-c", "goods")[0] == 0
    out = goods("search", "play games", "-c", "goods")[1]
    assert "\x1b" not in out
    assert "\x07" not in out


def test_demo_commands_work_as_printed(salience: Salience, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    text = "Open the database file, or create it, at the path that is given, and return the database as an object. "
    text += "The flag says whether it is opened to be read or to be written to."
    (library / "shelf.py").write_text(f'class Store:\n    """{text}"""\n')
    (library / "other.py").write_text(f'"""{"Show a web page in a browser. " * 7}"""\n')
    monkeypatch.setattr("app.cli.demo.standard_library", lambda: library)
    code, out, _ = salience("demo")
    assert code == 0
    assert "Indexing 2 docstrings" in out
    plain, steered = (re.findall(r"(?m)^ \d .* (shelf\.Store|other) ", part) for part in out.split("== ")[1:3])
    assert (plain, steered) == (["shelf.Store", "other"], ["other", "shelf.Store"])
    assert "1 more words" not in out
    assert salience("demo")[1].count("2 were there already") == 1
    assert salience("demo", "--fresh")[0] == 0
    actions = [action["action"] for action in json.loads(salience("audit", "--json")[1])]
    assert actions == ["collection.create", "collection.delete", "collection.create"]
    import shlex

    commands = [line.strip() for line in out.partition("Try next:")[2].splitlines() if line.strip()]
    assert len(commands) == 5
    for command in commands[:4]:
        code, shown, _ = salience(*shlex.split(command)[1:])
        assert (code, bool(shown)) == (0, True)


def test_a_collection_that_another_process_creates_meanwhile_is_used(
    salience: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Wiring.create_collection

    def late(parts: Wiring, name: str, settings: CollectionSettings) -> Collection:
        create(parts, name, settings)  # the other process
        return create(parts, name, settings)

    monkeypatch.setattr(Wiring, "create_collection", late)
    file = tmp_path / "lamp.jsonl"
    file.write_text('{"id": "l", "text": "A lamp."}\n')
    code, out, err = salience("add", str(file), "-c", "shared")
    assert (code, out) == (0, "shared: 1 created\n"), err
