"""Generates docs/configuration.md: every setting with its variable, type, default and meaning.

The meaning of a setting is the comment on its line in the source, or the description of its Field.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from app.reference.markdown import cell, table
from app.settings import DELIMITER, PREFIX, Settings

_INTRODUCTION = """# Configuration

*Written by `make docs` from the source of the settings. To change this page, change that.*

A setting is an environment variable, or a key of the TOML file that `SALIENCE_CONFIG` names. A variable overrides the
file, and an option of a command overrides both. In the file the levels are tables:

```toml
data_dir = "/var/lib/salience"   # SALIENCE_DATA_DIR

[server]
port = 9000                      # SALIENCE_SERVER__PORT
```

Settings are read once, when a process starts. Unknown variables with the prefix `SALIENCE_`, unknown keys of the file,
and values that do not fit are refused; the message names all problems at once. Secrets are never shown.
"""
MEBIBYTE = 2**20
_HEADINGS = ("variable", "type", "default", "meaning")


class Setting(NamedTuple):
    """One row of the page's tables."""

    variable: str  # NAME is a placeholder for a name that the user chooses
    type: str
    default: str
    meaning: str


def configuration_page() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    for title, settings in sections(Settings, ""):
        parts.append(f"## {title or 'The process'}\n\n{table(_HEADINGS, [_row(setting) for setting in settings])}")
    return "\n".join(parts)


def sections(model: type[BaseModel], path: str) -> Iterator[tuple[str, list[Setting]]]:
    """Each branch of the settings tree, by its name in the TOML file, with the branch's own settings."""
    comments = _comments(model)
    here, below = [], []
    for name, field in model.model_fields.items():
        place = f"{path}.{name}".removeprefix(".")
        branch = _branch(field.annotation)
        if branch is not None:
            below.append((branch, place if _is_model(field.annotation) else f"{place}.NAME"))
        if not _is_model(field.annotation):
            here.append(_setting(place, field, comments.get(name, "")))
    if here:
        yield path, here
    for branch, place in below:
        yield from sections(branch, place)


def _setting(place: str, field: FieldInfo, comment: str) -> Setting:
    variable = PREFIX + place.replace(".", DELIMITER).upper().replace(
        f"{DELIMITER}NAME{DELIMITER}", f"{DELIMITER}<NAME>{DELIMITER}"
    )
    if get_origin(field.annotation) is dict:
        variable += f"{DELIMITER}<NAME>"
    return Setting(variable, _type(field.annotation, field.metadata), _default(field), field.description or comment)


def _row(setting: Setting) -> tuple[str, ...]:
    return (f"`{setting.variable}`", setting.type, setting.default, cell(re.sub(r"\bNone\b", "unset", setting.meaning)))


def _branch(annotation: Any) -> type[BaseModel] | None:
    """The settings model nested below a field, directly or as the values of a dict; None for a plain setting."""
    if _is_model(annotation):
        found: type[BaseModel] = annotation
        return found
    if get_origin(annotation) is dict:
        return _branch(get_args(annotation)[1])
    return None


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _type(annotation: Any, limits: list[Any]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(_type(kind, limits) for kind in arguments if kind is not NoneType)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is dict:
        return f"for each name: {_type(arguments[1], [])}"
    if _is_model(annotation):
        return "the settings below"
    names: dict[Any, str] = {
        bool: "`true`, `false`",
        int: "whole number",
        float: "number",
        str: "text",
        Path: "path",
        SecretStr: "secret",
    }
    return names[annotation] + _bounds(limits)


def _bounds(limits: list[Any]) -> str:
    said = []
    for limit in limits:
        match limit:
            case Ge(ge=bound):
                said.append(f"at least {_number(bound)}")
            case Gt(gt=bound):
                said.append(f"over {_number(bound)}")
            case Le(le=bound):
                said.append(f"at most {_number(bound)}")
            case Lt(lt=bound):
                said.append(f"below {_number(bound)}")
            case _:
                continue
    return "".join(f", {bound}" for bound in said)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == "" or value == {}:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int) and value and value % MEBIBYTE == 0:
        return f"`{value}` ({value // MEBIBYTE:,} MiB)"
    return f"`{_number(value)}`" if isinstance(value, int | float) else f"`{value}`"


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@cache
def _comments(model: type[BaseModel]) -> dict[str, str]:
    """The comment on the source line of each field, by name."""
    source = textwrap.dedent(inspect.getsource(model))
    by_line = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (found,) = ast.parse(source).body
    assert isinstance(found, ast.ClassDef)
    return {
        statement.target.id: " ".join(by_line[line] for line in _lines(statement) if line in by_line)
        for statement in found.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }


def _lines(statement: ast.stmt) -> range:
    return range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
