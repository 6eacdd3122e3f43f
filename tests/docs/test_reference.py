"""The pages that are written out of the program say what the program says now."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

import core.errors
from app.api.search import _SEARCH
from app.errors import status_of
from app.main import create_app
from app.reference import PAGES
from app.reference.answers import SEARCH_ANSWER
from app.reference.configuration import sections
from app.schemas.base import RequestModel, ResponseModel
from app.settings import Settings, load_settings, variable_names
from app.wiring import Wiring
from embedder.local import LocalEncoder
from salience.client import errors as client_errors
from tests.docs.pages import GENERATED, ROOT, page_of


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_fresh(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == PAGES[name](), "run: make docs"


def test_these_are_all() -> None:
    assert tuple(sorted(PAGES)) == GENERATED


def test_every_setting_is_there_and_has_a_meaning() -> None:
    found = [setting for _, settings in sections(Settings, "") for setting in settings]
    named = {setting.variable.replace("<NAME>", "*") for setting in found}
    assert named - {"SALIENCE_MODELS__*", "SALIENCE_VIKINGDB__MODELS__*"} == {
        name
        for name in variable_names()
        if name not in ("SALIENCE_ALIASES", "SALIENCE_MODELS", "SALIENCE_VIKINGDB__MODELS")
    }
    assert [setting.variable for setting in found if not setting.meaning] == []


def test_every_operation_is_there() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    document = create_app(Wiring(Settings.model_construct())).openapi()
    for path, item in document["paths"].items():
        for method in item:
            assert f"### {method.upper()} {path}\n" in page
    for name, schema in document["components"]["schemas"].items():
        _, _, shape = page.partition(f"### {name}\n")
        assert all(f"| `{field}` |" in shape.partition("\n### ")[0] for field in schema.get("properties", {})), name


def test_every_error_is_there_with_its_status() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for name in set(core.errors.__all__) - {"SalienceError"}:
        kind = getattr(core.errors, name)
        assert f"| {status_of(kind)} | `{kind.code}` |" in page, name


def test_the_python_client_waits_for_no_code_that_there_is_not() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert [code for code in client_errors._BY_CODE if f"| `{code}` |" not in page] == []


def test_every_field_has_a_meaning_and_it_is_its_own() -> None:
    """Also of models that are used in several places: pydantic may give all of them the description of one."""
    schemas = create_app(Wiring(Settings.model_construct())).openapi()["components"]["schemas"]
    models = {model.__name__: model for model in _models(RequestModel, ResponseModel)}
    compared = 0
    for name, schema in schemas.items():
        for field, said in schema.get("properties", {}).items():
            assert said.get("description"), f"{name}.{field} has no meaning"
            if name in models:
                assert said["description"] == models[name].model_fields[field].description, f"{name}.{field}"
                compared += 1
    assert compared > 400


def _models(*bases: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Every model below `bases`."""
    for base in bases:
        for model in base.__subclasses__():
            yield model
            yield from _models(model)


def test_what_is_left_out_of_a_change_has_no_default() -> None:
    schemas = create_app(Wiring(Settings.model_construct())).openapi()["components"]["schemas"]
    for name in ("SettingsChange", "ReindexSettings"):
        assert [field for field, said in schemas[name]["properties"].items() if "default" in said] == []


def test_an_operation_says_what_it_is_and_more() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    said = "**Remove the old generation.** Without waiting for the end of its grace period."
    assert f"reindex/cleanup\n\n{said}" in page


def test_bounds_are_whole_numbers_that_can_be_meant() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert re.findall(r"\| integer[^|]*(?:\.\d|e\+|\d{16})[^|]*\|", page) == []


def test_every_body_has_an_example() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for operation in page.split("\n## Errors")[0].split("\n### ")[1:]:
        assert "\nTakes " not in operation or "\n```" in operation, operation.partition("\n")[0]


def test_the_answer_to_a_search_is_a_real_one(encoder: LocalEncoder, tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data")
    products = next(block for block in page_of(ROOT / "README.md").blocks if "products.jsonl <<'END'" in block.content)
    lines = re.findall(r"^\{.*\}$", products.content, re.MULTILINE)
    with TestClient(create_app(Wiring(settings, encoder=encoder))) as client:
        client.post("/v1/collections", json={"name": "products"})
        added = "/v1/collections/products/documents:bulk?wait=true"
        client.post(added, content="\n".join(lines), headers={"Content-Type": "application/x-ndjson"})
        asked = _SEARCH["plain"]["value"]
        found = client.post("/v1/collections/products/search", json=asked).json()
    assert found.keys() == SEARCH_ANSWER.keys()
    assert found["took_ms"].keys() == SEARCH_ANSWER["took_ms"].keys()
    other = {"took_ms", "request_id", "next"}
    shown = {name: value for name, value in SEARCH_ANSWER.items() if name not in other}
    assert _rounded({name: found[name] for name in shown}) == _rounded(shown)


def _rounded(value: Any) -> Any:
    """To three places."""
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 3) if isinstance(value, float) else value
