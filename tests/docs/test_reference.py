"""The pages that are written out of the program say what the program says now."""

from __future__ import annotations

import pytest

import core.errors
from app.errors import status_of
from app.main import create_app
from app.reference import PAGES
from app.reference.configuration import sections
from app.settings import Settings, variable_names
from app.wiring import Wiring
from salience.client import errors as client_errors
from tests.docs.pages import GENERATED, ROOT


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
