"""docs/api.md: every operation of the HTTP API, the fields of what it takes and gives, and every code of an error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import core.errors
from app import errors
from app.main import create_app
from app.reference.markdown import cell, table
from app.settings import Settings
from app.wiring import Wiring
from core.errors import SalienceError

Schema = Mapping[str, Any]

_INTRODUCTION = """# The HTTP API

*Written by `make docs` out of the OpenAPI, which a server has at `/openapi.json`, and to try at `/docs`; changes go
into the endpoints' source.*

Bodies are JSON in UTF-8. What is sent is strictly checked: an unknown field is refused, with the ones that are known.
Errors have the HTTP status that fits, and one shape, whose `code` is [stable](#errors):

```json
{"error": {"code": "invalid_query", "message": "what was wrong, what is allowed", "param": "k", "request_id": "..."}}
```

400 and 422: the request; 401: the key; 403: what it allows; 404: nothing there; 409: contradicts the present state;
413: too large; 429 and 503: not now, and `Retry-After` says when, where waiting helps. Every answer has an
`X-Request-ID`: the caller's own where it sends one. The APIs of others, for embeddings, are described
[elsewhere](embedding-apis.md). From Python: [client.md](client.md).
"""
_FIELDS = ("field", "type", "default", "meaning")
_PARAMETERS = ("parameter", "in", "type", "default", "meaning")
_ERRORS = """## Errors

The same codes stand in the audit log, and with the errors of a job's documents; there, `worker_lost` is a document over
which workers ended again and again. The `message` of an error says more than this table: what was wrong, and where.
"""
_OTHER_ERRORS = (  # that are no classes of ours
    ("405", "method_not_allowed", "The path does not take this method; `Allow` lists those that it takes."),
    (
        "415",
        "unsupported_media_type",
        "The body's Content-Encoding is not known; `documents:bulk` takes gzip, or none.",
    ),
    ("500", "internal", "An unexpected failure; the server's log has the details."),
)


def api_page() -> str:
    """The whole page. No model is loaded for it, and no data directory touched."""
    document = create_app(Wiring(Settings.model_construct())).openapi()
    return "\n".join([_INTRODUCTION, *_operations(document), _errors(), "## Shapes\n", *_shapes(document)])


def _operations(document: Schema) -> Iterator[str]:
    by_tag: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            tag = operation.get("tags", ["other"])[0]
            by_tag.setdefault(tag, []).append(_operation(method.upper(), path, operation))
    for tag, operations in by_tag.items():
        yield f"## {tag.capitalize()}\n"
        yield from operations


def _operation(method: str, path: str, operation: Schema) -> str:
    parts = [f"### {method} {path}\n", f"{operation.get('description') or operation['summary']}\n"]
    parameters = [_parameter(one) for one in operation.get("parameters", [])]
    if parameters:
        parts.append(table(_PARAMETERS, parameters))
    said = []
    if "requestBody" in operation:
        said.append(f"Takes {_contents(operation['requestBody']['content'])}.")
    answers = [_answer(status, answer) for status, answer in operation["responses"].items() if status[0] == "2"]
    others = [
        _answer(status, answer)
        for status, answer in operation["responses"].items()
        if status[0] in "345" and "X" not in status and status != "422"
    ]
    said.append(f"Answers {'; '.join([*answers, *others])}.")
    return "\n".join([*parts, " ".join(said) + "\n"])


def _parameter(parameter: Schema) -> tuple[str, ...]:
    schema = parameter["schema"]
    default = "required" if parameter.get("required") else _default(schema)
    return (f"`{parameter['name']}`", parameter["in"], _type(schema), default, cell(parameter.get("description", "")))


def _answer(status: str, answer: Schema) -> str:
    contents = _contents(answer.get("content", {}))
    description = answer.get("description", "")
    plain = description in ("Successful Response", "") or description == contents
    return f"{status}{': ' + contents if contents else ''}{'' if plain else f' ({cell(description)})'}"


def _contents(contents: Schema) -> str:
    said = []
    for media_type, content in contents.items():
        kind = _type(content.get("schema", {}))
        said.append(kind if media_type == "application/json" else f"`{media_type}`")
    return " or ".join(dict.fromkeys(said))


def _errors() -> str:
    """Every code, by status; the docstring of an error says what it is where nothing else is known."""
    found = (*vars(core.errors).values(), *vars(errors).values())
    kinds = {one for one in found if isinstance(one, type) and issubclass(one, SalienceError) and "code" in vars(one)}
    rows = [(str(errors.status_of(kind)), kind.code, cell(kind.__doc__ or "")) for kind in kinds - {SalienceError}]
    listed = [(status, f"`{code}`", meaning) for status, code, meaning in sorted([*rows, *_OTHER_ERRORS])]
    return "\n".join([_ERRORS, table(("status", "code", "meaning"), listed)])


def _shapes(document: Schema) -> Iterator[str]:
    for name, schema in sorted(document["components"]["schemas"].items()):
        described = f"{schema['description'].strip()}\n" if schema.get("description") else ""
        yield "\n".join(part for part in (f"### {name}\n", described, _fields(schema)) if part)


def _fields(schema: Schema) -> str:
    required: Sequence[str] = schema.get("required", [])
    rows = []
    for field, kind in schema.get("properties", {}).items():
        default = "required" if field in required else _default(kind)
        rows.append((f"`{field}`", _type(kind), default, cell(kind.get("description", ""))))
    return table(_FIELDS, rows) if rows else f"{_type(schema)}\n"


def _default(schema: Schema) -> str:
    if "default" not in schema or schema["default"] is None:
        return ""
    return f"`{json.dumps(schema['default'], ensure_ascii=False)}`" if schema["default"] not in ([], {}) else ""


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[several]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema.get('items', {}))}{_size(schema)}"
        case "object":
            inner = schema.get("additionalProperties")
            return f"object of {_type(inner)}" if isinstance(inner, dict) and inner else "object"
        case None:
            return "any"
        case kind:
            return f"{kind}{_range(schema)}"


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    high = None if isinstance(high, int) and high >= 2**53 else high
    if low is None and high is None:
        return ""
    return (
        f" {low} to {high}"
        if high is not None and low is not None
        else f" from {low}"
        if low is not None
        else f" to {high}"
    )


def _size(schema: Schema) -> str:
    return f", {schema['maxItems']} at most" if "maxItems" in schema else ""
