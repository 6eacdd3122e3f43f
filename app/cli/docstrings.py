"""The demo's documents: docstrings of Python's standard library, parsed from its sources without importing them."""

from __future__ import annotations

import ast
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path

from core.records import Document

MIN_CHARACTERS = 150  # shorter ones say too little to be worth finding
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_KINDS = {ast.Module: "module", ast.ClassDef: "class", ast.FunctionDef: "function", ast.AsyncFunctionDef: "function"}
_LEFT_OUT = {
    "site-packages",
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "distutils",  # removed from newer Pythons
    "tkinter",  # large, and about a single topic: the demo should take a minute
    "turtle",
    "__pycache__",
    "_pyrepl",
    "ensurepip",
}


def standard_library() -> Path:
    """The folder of the standard library's sources."""
    return Path(sysconfig.get_path("stdlib"))


def docstring_documents(root: Path) -> Iterator[Document]:
    """A document for each public module, class and function with a docstring, in the order of the files' paths."""
    for path in sorted(root.rglob("*.py")):
        names = path.relative_to(root).with_suffix("").parts
        if any(part in _LEFT_OUT or (part.startswith("_") and part != "__init__") for part in names):
            continue
        module = ".".join(part for part in names if part != "__init__")
        yield from _of_module(path, module)


def _of_module(path: Path, module: str) -> Iterator[Document]:
    try:
        with warnings.catch_warnings(), tokenize.open(path) as source:
            warnings.simplefilter("ignore", SyntaxWarning)  # invalid escapes in old sources
            tree = ast.parse(source.read())
    except (OSError, SyntaxError, UnicodeDecodeError):  # not readable by this Python
        return
    seen: set[str] = set()
    for name, node in _definitions(tree, module):
        text = ast.get_docstring(node)
        if text is None or len(text) < MIN_CHARACTERS or "\0" in text or name in seen:
            continue
        seen.add(name)  # names defined twice, for two platforms for example, count once
        line = 1 if isinstance(node, ast.Module) else node.lineno
        metadata = {"module": module, "kind": _KINDS[type(node)], "line": line}
        yield Document(id=name, title=name, text=text, metadata=metadata)


def _definitions(node: _Documented, name: str) -> Iterator[tuple[str, _Documented]]:
    """The node and the public classes and functions in it, with dotted names; functions are not searched for more."""
    yield name, node
    if isinstance(node, (ast.Module, ast.ClassDef)):
        for child in node.body:
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and child.name[0] != "_":
                yield from _definitions(child, f"{name}.{child.name}")
