"""salience models: over tiny models in folders, and the real default one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from app.cli.main import run
from app.models import Models
from app.settings import load_settings
from core.errors import InvalidInput, InvalidSettings, ModelUnavailable
from core.prompts import Prompt
from core.records import Representation
from embedder.projection import compressed
from tests.embedder.classifiers import save_classifier
from tests.embedder.tiny import WORDS, save_tiny_model, write_json

Salience = Callable[..., tuple[int, str, str]]


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Salience:
    """`salience models ...` with three configured models: exit code, standard output, standard error."""
    prompts = {"query": "query : ", "document": "passage : "}
    (tmp_path / "config.toml").write_text(
        f"""
        model = "tiny"
        data_dir = "{tmp_path / "data"}"
        [models.tiny]
        folder = "{save_tiny_model(tmp_path / "tiny", prompts=prompts)}"
        precision = "fp32"
        [models.judge]
        folder = "{save_classifier(tmp_path / "judge")}"
        [models.lost]
        folder = "{tmp_path / "nowhere"}"
        [models.far]
        api = "openai"
        url = "http://127.0.0.1:9"
        dimension = 64
        [aliases]
        small = "tiny"
        """
    )
    monkeypatch.setenv("SALIENCE_CONFIG", str(tmp_path / "config.toml"))

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            run(["models", *arguments])
        captured = capsys.readouterr()
        return int(exit.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Two hundred short documents, one of them twice, and one broken line."""
    source = random.Random(1)
    lines = [json.dumps({"id": n, "text": " ".join(source.choices(WORDS, k=6))}) for n in range(200)]
    file = tmp_path / "texts.jsonl"
    file.write_text("\n".join([*lines, "{broken", lines[0].replace('"id": 0', '"id": 999')]))
    return file


def test_list_names_every_model(models: Salience) -> None:
    code, out, _ = models("list", "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert list(rows) == ["tiny", "judge", "lost", "far", "default"]
    assert rows["tiny"]["main"]
    assert (rows["tiny"]["kind"], rows["tiny"]["dimension"], rows["tiny"]["max_tokens"]) == ("dense", 16, 20)
    assert rows["tiny"]["aliases"] == ["small", "luminous-base"]
    assert rows["judge"]["kind"] == "reranker"
    assert "nowhere is not a folder" in rows["lost"]["problem"]
    assert rows["far"]["from"] == "openai at http://127.0.0.1:9"
    assert (rows["default"]["dimension"], rows["default"]["max_tokens"]) == (384, 256)
    _, out, err = models("list")
    assert err.startswith("lost cannot be used: ")
    shown = out.splitlines()
    assert shown[0].split() == ["model", "kind", "dimension", "tokens", "from", "aliases"]
    assert [line.split()[0] for line in shown[1:] if not line.startswith(" ")] == list(rows)


def test_show_says_everything(models: Salience) -> None:
    code, out, _ = models("show", "small", "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["name"] == "tiny"
    assert len(facts["fingerprint"]) == 32
    assert (facts["dimension"], facts["sizes"], facts["max_tokens"]) == (16, [16], 20)
    assert (facts["pooling"], facts["precision"]) == ("mean", "fp32")
    assert facts["prompt_query"] == "'query : '"
    assert (facts["controls_attention"], facts["controls_pool"], facts["controls_why_not"]) == (True, True, None)
    assert "prompt_document    'passage : '" in models("show", "tiny")[1]


def test_show_says_why_controls_do_not_act(models: Salience, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "mp", "mpnet", pooling="cls_token")
    facts = json.loads(models("show", str(folder), "--json")[1])
    assert (facts["name"], facts["controls_attention"], facts["controls_pool"]) == ("mp", False, False)
    assert facts["controls_why_not"] == (
        "a suppressed token still acts on the others; its pooling is not a mean over tokens"
    )


def test_an_unknown_name_lists_what_there_is(models: Salience) -> None:
    for command in ("show", "check"):
        code, out, err = models(command, "nobody")
        assert (code, out) == (1, "")
        assert "there is no model 'nobody' here; there are default, far, judge" in err
        assert "nor is it a folder" in err
    assert models("show", "lost")[0] == 1


def test_check_finds_a_good_model_good(models: Salience) -> None:
    code, out, _ = models("check", "tiny", "--json")
    found = json.loads(out)
    by_name = {finding["name"]: finding for finding in found["findings"]}
    assert (code, found["good"], found["model"]) == (0, True, "tiny")
    for name in ("vectors", "meaning", "determinism", "controls on attention", "sentence-transformers"):
        assert by_name[name]["good"] is True, name
    assert by_name["one short text"]["good"] is None
    assert by_name["one short text"]["text"].endswith("ms (median of 15)")


def test_check_of_a_reranker(models: Salience) -> None:
    code, out, _ = models("check", "judge")
    assert code == 0
    assert "ok     determinism" in out
    assert "a reranker model" in out


@pytest.mark.parametrize(
    ("word", "said"), [(0.5, "FAILED meaning"), (float("nan"), "FAILED vectors")], ids=["all words alike", "nan"]
)
def test_check_says_what_is_wrong(models: Salience, tmp_path: Path, word: float, said: str) -> None:
    file = tmp_path / "tiny" / "model.safetensors"
    weights = load_file(file)
    name = "embeddings.word_embeddings.weight"
    save_file(weights | {name: np.full_like(weights[name], word)}, file)
    code, out, _ = models("check", "tiny")
    assert code == 1
    assert said in out


def test_fit_writes_a_projection_that_is_used(models: Salience, texts: Path, tmp_path: Path) -> None:
    code, out, err = models("fit", "small", str(texts), "--size", "4", "--json")
    assert code == 0
    report = json.loads(out)
    assert report["size"] == 4
    assert report["texts"] == 200
    assert 0.25 < report["kept"] < 1
    assert "1 records could not be used, the first: " in err
    assert "line 201" in err
    registry = Models(load_settings())
    small = compressed(registry.encoder("tiny"), 4, fitted=registry.fitted_projections)
    assert small.encode([Prompt.of("red car")], Representation.QUERY).vectors.shape == (1, 4)
    assert json.loads(models("show", "tiny", "--json")[1])["sizes"] == [16, 4]
    code, out, _ = models("fit", "tiny", str(texts), "--size", "5")
    assert out.startswith("tiny: 5 of 16 dimensions keep ")
    assert sorted(file.suffix for file in (tmp_path / "data" / "projections").iterdir()) == [".safetensors"] * 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tiny", "TEXTS", "--size", "100"), "size 100: must be from 1 to 15"),
        (("tiny", "TEXTS", "--size", "15"), None),
        (("tiny", "few.txt", "--size", "4"), "1 different texts are too few to fit 4 dimensions: at least 40"),
        (("tiny", "missing.txt"), "missing.txt"),
        (("judge", "TEXTS"), "model judge is a reranker model: it makes no dense vectors"),
    ],
)
def test_what_cannot_be_fitted(
    models: Salience, texts: Path, tmp_path: Path, arguments: tuple[str, ...], said: str | None
) -> None:
    (tmp_path / "few.txt").write_text("the red car")
    paths = {"TEXTS": str(texts), "few.txt": str(tmp_path / "few.txt"), "missing.txt": str(tmp_path / "missing.txt")}
    code, _, err = models("fit", *(paths.get(argument, argument) for argument in arguments))
    assert code == (1 if said else 0)
    assert (said or "") in err
    written = (
        list((tmp_path / "data" / "projections").glob("*")) if (tmp_path / "data" / "projections").exists() else []
    )
    assert bool(written) is (said is None)


def test_a_model_of_the_settings_is_loaded_as_they_say(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", prompts={"query": "query : "}, matryoshka_dims=[16, 4])
    base = {"folder": folder, "precision": "fp32"}
    given = {"dimension": 4, "query_prefix": "wolf ", "document_prefix": "train ", "pooling": "cls"}
    registry = Models(load_settings(models={"whole": base, "other": base | given}, model="whole"))
    other = registry.encoder("other")
    assert other.dimension == 4
    assert other.overhead(Representation.QUERY) == 3
    assert compressed(registry.encoder("whole"), 4).dimension == 4
    with pytest.raises(InvalidInput, match=r"allowed are 16 and 4; to add 3, .*: salience models fit whole --size 3"):
        compressed(registry.encoder("whole"), 3)


def test_the_default_model_answers_to_its_own_name() -> None:
    assert Models(load_settings()).resolve("all-MiniLM-L6-v2") == "default"


@pytest.mark.parametrize(("given", "main"), [("small", "other"), ("other", "other"), ("all-MiniLM-L6-v2", "default")])
def test_the_main_model_is_named_in_any_way(tmp_path: Path, given: str, main: str) -> None:
    models = {"other": {"folder": tmp_path}}
    assert Models(load_settings(models=models, aliases={"small": "other"}, model=given)).main == main


def test_names_that_stand_for_nothing_or_two_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"aliases\.small: tyny: there is no such model; there are default"):
        Models(load_settings(aliases={"small": "tyny"}))
    models = {"tiny": {"folder": tmp_path / "tiny"}}
    again = load_settings(models=models, model=str(tmp_path / "tiny"))
    assert Models(again).names == ("tiny", "default")
    with pytest.raises(InvalidSettings, match="has the name of another model of the settings, 'tiny'"):
        Models(load_settings(models=models, model=str(tmp_path / "elsewhere" / "tiny")))
    with pytest.raises(ModelUnavailable) as refused:
        Models(load_settings(models=models, model="tyny")).encoder()
    said = "is not a folder, and no model of the settings has this name; there are tiny"
    assert said in refused.value.detail


def test_check_of_a_model_that_takes_no_controls(models: Salience, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "mp", "mpnet", pooling="cls_token")
    code, out, _ = models("check", str(folder), "--json")
    found = {finding["name"]: finding["good"] for finding in json.loads(out)["findings"]}
    assert code == 0
    assert found["controls on attention"] is found["controls on pool"] is None
    assert "steered neighbours" not in found


def test_eval_measures_compressed_vectors(salience: Salience, tmp_path: Path) -> None:
    write_json(tmp_path / "c" / "corpus.jsonl", {"_id": "1", "text": "How to bake bread"})
    write_json(tmp_path / "c" / "queries.jsonl", {"_id": "a", "text": "baking"})
    (tmp_path / "c" / "qrels.tsv").write_text("a\t1\t1\n")
    whole, small = (
        json.loads(salience("eval", str(tmp_path / "c"), "--json", *options)[1])["settings"]["fingerprint"]
        for options in ((), ("--dimension", "128"))
    )
    assert whole != small
    code, _, err = salience("eval", str(tmp_path / "c"), "--dimension", "77")
    assert code == 1
    assert "allowed are 384 and 128; to add 77" in err
