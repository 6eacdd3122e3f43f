"""Generates docs/api.md: every operation of the HTTP API, the fields of its bodies, and every error code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app import errors
from app.main import create_app
from app.reference.answers import SEARCH_ANSWER
from app.reference.markdown import cell, json_block, table, wrapped
from app.settings import Settings
from app.wiring import Wiring
from core.errors import SalienceError

Schema = Mapping[str, Any]

_INTRODUCTION = """# The HTTP API

*Written by `make docs` from the OpenAPI description, which every server has at `/openapi.json`, and at `/docs` to try
out. To change this page, change the endpoints' source.*

Bodies are JSON in UTF-8. Requests are checked strictly: an unknown field or query parameter is refused, and the error
lists the known ones. No path has a slash at its end, unless a document's id has, and nothing is redirected. An error
has the HTTP status that fits and one shape, whose `code` is [stable](#errors):

```json
{"error": {"code": "invalid_query", "message": "what was wrong, what is allowed", "param": "k", "request_id": "..."}}
```

| status | what is wrong |
| --- | --- |
| 400, 422 | the request |
| 401, 403 | the key: it is missing or not valid; it does not allow this |
| 404, 405 | there is no such thing; the path does not take this method |
| 408, 413, 415 | the body did not come in time; it is too large; its encoding is not known |
| 409 | the request contradicts the present state |
| 429, 503 | not now; `Retry-After` says when to try again, where waiting helps |
| 500, 502, 507 | the server; a remote model behind it; its disk is full |

| sent with any request | |
| --- | --- |
| `Authorization: Bearer KEY` | a [key](access.md) or a token; not needed while the server has neither |
| `X-Request-ID` | a name for the request, repeated in the answer and in the server's log; else the server makes one |
| `Salience-Timeout-Ms` | milliseconds until the request stops waiting or working: 503 `overloaded` or `abandoned` |
| `?nice=true` | serve this after all others, at models too; it may wait a minute ([overload](operate.md#overload)) |

Answers to keys with limits by the minute say what is left of them in `RateLimit` and `RateLimit-Policy`
([limits](access.md#limits)).

The embedding APIs of other services are described in [embedding-apis.md](embedding-apis.md), the client for Python in
[client.md](client.md).
"""
_ANSWERED = "Over the three products of the [README](../README.md), the answer to this is\n"
_FIELDS = ("field", "type", "default", "meaning")
_PARAMETERS = ("parameter", "in", "type", "default", "meaning")
_ERRORS = """## Errors

The audit log and the errors of a job's documents have the same codes; in a job, `worker_lost` marks a document over
which workers ended again and again. The `message` of an error says more than this table: what was wrong, and where.
"""
_OTHER_ERRORS = (  # without an error class
    ("405", "method_not_allowed", "The path does not take this method; `Allow` lists those that it takes."),
    (
        "415",
        "unsupported_media_type",
        "The body's Content-Encoding is not known; `documents:bulk` takes gzip, or none.",
    ),
    ("500", "internal", "An unexpected failure; the server's log has the details."),
)


def api_page() -> str:
    """The whole page. Loads no model and touches no data directory."""
    document = create_app(Wiring(Settings.model_construct())).openapi()
    operations = list(_operations(document))
    headings = [part[3:].strip() for part in operations if part.startswith("## ")]
    listed = ", ".join(f"[{heading}](#{heading.lower()})" for heading in (*headings, "Errors", "Shapes"))
    contents = wrapped(f"On this page: {listed}.")
    return "\n".join([_INTRODUCTION, contents, *operations, _errors(), "## Shapes\n", *_shapes(document)])


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
    said = (f"**{operation['summary']}.**", operation.get("description"))
    parts = [f"### {method} {path}\n", wrapped(" ".join(one for one in said if one))]
    parameters = [_parameter(one) for one in operation.get("parameters", [])]
    if parameters:
        parts.append(table(_PARAMETERS, parameters))
    answered = f"Answers {_answers(operation)}."
    body = operation.get("requestBody")
    if body is None:
        return "\n".join([*parts, wrapped(answered)])
    takes = wrapped(f"Takes {_contents(body['content'])}. {answered}")
    if operation["operationId"] == "search":
        answer = [_ANSWERED, json_block(SEARCH_ANSWER)]
        return "\n".join([*parts, takes, *_example(body["content"]), *answer])
    return "\n".join([*parts, takes, *_example(body["content"])])


def _answers(operation: Schema) -> str:
    answers = [_answer(status, answer) for status, answer in operation["responses"].items() if status[0] == "2"]
    others = [
        _answer(status, answer)
        for status, answer in operation["responses"].items()
        if status[0] in "345" and "X" not in status and status != "422"
    ]
    return "; ".join([*answers, *others])


def _example(contents: Schema) -> list[str]:
    """The first example of a body, if there is one."""
    for content in contents.values():
        for example in content.get("examples", {}).values():
            return [json_block(example["value"])]
        if "example" in content:
            return [f"```text\n{content['example'].strip()}\n```\n"]
    return []


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
    """The table of error codes, sorted by status. The meaning is the docstring of the error's class."""
    rows = [(str(errors.status_of(kind)), kind.code, cell(kind.__doc__ or "")) for kind in _kinds(SalienceError)]
    listed = [(status, f"`{code}`", meaning) for status, code, meaning in sorted([*rows, *_OTHER_ERRORS])]
    return "\n".join([_ERRORS, table(("status", "code", "meaning"), listed)])


def _kinds(above: type[SalienceError]) -> Iterator[type[SalienceError]]:
    for kind in above.__subclasses__():
        yield kind
        yield from _kinds(kind)


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
    low, high = (_number(schema.get(bound)) for bound in ("minimum", "maximum"))
    high = None if high is not None and high >= 2**53 else high  # 2^53 is the limit of JSON's numbers, not of the API
    if low is None and high is None:
        return ""
    return (
        f" {low} to {high}"
        if high is not None and low is not None
        else f" from {low}"
        if low is not None
        else f" to {high}"
    )


def _number(bound: float | None) -> float | None:
    """The bound, as an integer if it is one: FastAPI's OpenAPI has bounds of integers as floats."""
    return int(bound) if bound is not None and bound == int(bound) else bound


def _size(schema: Schema) -> str:
    return f", {schema['maxItems']} at most" if "maxItems" in schema else ""
