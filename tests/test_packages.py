"""How the packages are laid out, where neither ruff nor import-linter looks."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = [
    file.parent
    for top in ("app", "bench", "core", "embedder", "indexer", "migrations", "retriever", "salience", "store")
    for file in sorted((ROOT / top).rglob("__init__.py"))
]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.relative_to(ROOT).as_posix())
def test_no_name_of_a_package_hides_one_of_its_modules(package: Path) -> None:
    """`from store import commit` would be a function or a module, by what was imported before."""
    own = ".".join(package.relative_to(ROOT).parts)
    modules = {file.stem for file in package.glob("*.py")} | {
        file.parent.name for file in package.glob("*/__init__.py")
    }
    bound = set()
    for node in ast.parse((package / "__init__.py").read_text("utf-8")).body:
        match node:
            case ast.ImportFrom(module=module, names=names) if module != own:
                bound |= {name.asname or name.name for name in names}
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.Assign(targets=targets):
                bound |= {target.id for target in targets if isinstance(target, ast.Name)}
    assert bound & modules == set()
