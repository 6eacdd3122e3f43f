from __future__ import annotations

import difflib
import inspect
import json.decoder
from pathlib import Path

from app.cli.docstrings import MIN_CHARACTERS, docstring_documents, standard_library

LONG = "Says at length what it is for, so that it is worth searching: " + "words " * 20


def test_public_definitions_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text(f'"""{LONG}"""')
    (tmp_path / "pack" / "part.py").write_text(
        f'class Public:\n    """{LONG}"""\n    async def method(self):\n        """{LONG}"""\n'
        f'        def inner():\n            """{LONG}"""\n    def _hidden(self):\n        """{LONG}"""\n'
        f'def short():\n    """Short."""\nraise SystemExit  # never run\n'
    )
    (tmp_path / "_private.py").write_text(f'"""{LONG}"""')
    (tmp_path / "broken.py").write_text("def (:")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "thing.py").write_text(f'"""{LONG}"""')
    found = {document.id: document for document in docstring_documents(tmp_path)}
    assert list(found) == ["pack", "pack.part.Public", "pack.part.Public.method"]
    assert found["pack.part.Public.method"].metadata == {"module": "pack.part", "kind": "function", "line": 3}


def test_the_standard_library_has_thousands() -> None:
    found = {document.id: document for document in docstring_documents(standard_library())}
    assert len(found) > 1500
    assert found["difflib.SequenceMatcher"].text == inspect.getdoc(difflib.SequenceMatcher)
    assert found["json.decoder.JSONDecoder"].metadata["kind"] == "class"
    assert json.decoder.JSONDecoder.__doc__
    assert all(len(document.text) >= MIN_CHARACTERS for document in found.values())
