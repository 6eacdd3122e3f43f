"""pyproject.toml declares what is imported, within bounds that hold for what requirements.lock pins."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
OWN = ("app", "core", "embedder", "indexer", "migrations", "retriever", "salience", "store")
OF_PYDANTIC = {"annotated_types", "pydantic_core"}  # which names their versions
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def declared(*extras: str) -> list[Requirement]:
    """What the package needs, and what these extras add."""
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in PROJECT["optional-dependencies"][extra])]
    return [Requirement(text) for text in texts]


def imported() -> Iterator[str]:
    """The top-level names that our modules import of others."""
    for package in OWN:
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    names = [node.module]
                yield from {name.partition(".")[0] for name in names} - {*OWN, *sys.stdlib_module_names}


def test_what_is_imported_is_declared() -> None:
    names, known = {canonicalize_name(one.name) for one in declared("milvus", "tracing")}, packages_distributions()
    undeclared = {
        name for name in imported() if not names & {canonicalize_name(one) for one in known.get(name, [name])}
    }
    assert undeclared - OF_PYDANTIC == set()


def test_the_pinned_versions_are_within_the_bounds() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = {canonicalize_name(name): version for name, version in re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", lock)}
    for one in declared("dev", "milvus", "tracing"):
        name = canonicalize_name(one.name)
        if name != "torch":  # by version alone: see the Makefile
            assert one.specifier.contains(pinned[name]), f"{one}: {pinned[name]}"


def test_what_is_overridden_that_is_not_public_has_an_upper_bound() -> None:
    [uvicorn] = [one for one in declared() if one.name == "uvicorn"]
    assert not uvicorn.specifier.contains("1.0")
