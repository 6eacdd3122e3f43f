"""The tree of errors: one class, one code, wherever in the server a class is written."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import core.errors

ROOT = Path(core.errors.__file__).parents[2]
PACKAGES = ("app", "core", "embedder", "indexer", "retriever", "store")


def written() -> dict[str, ast.ClassDef]:
    """Every class below SalienceError, by its name: also one that nobody has imported yet."""
    classes = [
        node
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    found: dict[str, ast.ClassDef] = {}
    size = -1
    while len(found) > size:
        size = len(found)
        for node in classes:
            bases = {base.id if isinstance(base, ast.Name) else getattr(base, "attr", "") for base in node.bases}
            if bases & {"SalienceError", *found}:
                found[node.name] = node
    return found


def own_code(node: ast.ClassDef) -> str | None:
    for line in node.body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "code":
            return str(ast.literal_eval(line.value))
    return None


def test_every_error_has_a_code_of_its_own() -> None:
    codes = {name: own_code(node) for name, node in written().items()}
    assert len(codes) > 50
    assert [name for name, code in codes.items() if code is None] == []
    assert len(set(codes.values())) == len(codes)


def test_every_code_is_documented() -> None:
    documented = set(re.findall(r"^\| \d+ \| `(\w+)` \|", (ROOT / "docs/api.md").read_text("utf-8"), re.MULTILINE))
    assert {own_code(node) for node in written().values()} <= documented


def test_the_drawing_shows_the_tree() -> None:
    assert core.errors.__doc__ is not None
    drawn: list[tuple[str, str | None]] = []
    above: list[str] = []
    for line in core.errors.__doc__.splitlines():
        if found := re.match(r" {4}((?:│   |    )*(?:[├└]── )?)([A-Z]\w+)(?: |$)", line):
            depth = len(found[1]) // 4
            above[depth:] = [found[2]]
            drawn.append((found[2], above[depth - 1] if depth else None))
    kinds = {kind for kind in vars(core.errors).values() if isinstance(kind, type)}
    bases = {kind.__name__: kind.__base__.__name__ for kind in kinds if kind.__base__ is not None}
    assert {name: base or "Exception" for name, base in drawn} == bases
    assert sorted(core.errors.__all__) == sorted(bases)
