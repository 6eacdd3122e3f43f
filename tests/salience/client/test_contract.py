"""The client knows what the server says and takes, and stands alone."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import app.error_shapes
import app.errors
import core.errors
from app.schemas import (
    collections,
    documents,
    explanations,
    inputs,
    jobs,
    keys,
    reindexes,
    search_request,
    search_response,
    selection,
    stats,
)
from salience.client import _admin, _collections, _search, admin_results, errors, results, search_results
from salience.client._reading import read_as

ROOT = Path(__file__).resolve().parents[3]
ANSWERS: list[tuple[type[BaseModel], type[Any]]] = [
    (collections.CollectionBody, results.Collection),
    (documents.StoredDocumentBody, results.Document),
    (documents.DocumentList, results.DocumentPage),
    (documents.RecordFailure, results.RecordFailure),
    (documents.WriteReport, results.WriteReport),
    (documents.DeletionReport, results.Deletion),
    (documents.DocumentChanged, results.DocumentChanged),
    (documents.PassageSpan, results.Span),
    (documents.StoredControlBody, results.DocumentControl),
    (jobs.JobDetail, results.Job),
    (jobs.JobList, results.JobPage),
    (stats.CollectionStatsBody, results.CollectionStats),
    (stats.SegmentsBody, results.Segments),
    (search_response.SearchResponse, search_results.SearchResult),
    (search_response.HitBody, search_results.Hit),
    (search_response.LegScoreBody, search_results.LegScore),
    (search_response.PassageBody, search_results.Passage),
    (search_response.ChoiceBody, search_results.Choice),
    (search_response.LegChoiceBody, search_results.LegChoice),
    (inputs.ControlBody, search_results.Control),
    (selection.HighlightBody, search_results.Highlight),
    (selection.GroupBody, search_results.Group),
    (selection.FacetsBody, search_results.Facets),
    (selection.FacetBody, search_results.Facet),
    (selection.FacetValueBody, search_results.FacetValue),
    (selection.SuggestionsBody, search_results.Suggestions),
    (selection.SuggestionBody, search_results.Suggestion),
    (selection.MeantBody, search_results.Meant),
    (explanations.ExplanationBody, search_results.Explanation),
    (explanations.LineBody, search_results.Line),
    (explanations.WordBody, search_results.Unit),
    (explanations.UnitBody, search_results.Unit),
    (explanations.LegEffectBody, search_results.LegEffect),
    (explanations.QueryWordBody, search_results.QueryWord),
    (explanations.SteeringChangeBody, search_results.SteeringChange),
    (explanations.SwapBody, search_results.Swap),
    (explanations.ContrastBody, search_results.Contrast),
    (explanations.ReplayResponse, search_results.Replay),
    (keys.KeyBody, admin_results.Key),
    (keys.NewKeyBody, admin_results.NewKey),
    (keys.ActionBody, admin_results.Action),
    (keys.AuditLog, admin_results.AuditPage),
    (reindexes.ReindexBody, admin_results.Reindex),
    (reindexes.AliasBody, admin_results.Alias),
]


@pytest.mark.parametrize(("said", "read"), ANSWERS, ids=lambda kind: kind.__name__)
def test_every_field_of_an_answer_is_read(said: type[BaseModel], read: type[Any]) -> None:
    fields = {field.name: field for field in dataclasses.fields(read)}
    assert fields.keys() == said.model_fields.keys()
    hints = get_type_hints(read)
    for name, field in said.model_fields.items():
        if (said, name) == (explanations.WordBody, "share"):
            continue  # words always have one; other units are of the same class
        if field.annotation is Any:
            continue
        optional = type(None) in getattr(field.annotation, "__args__", ())
        assert (type(None) in getattr(hints[name], "__args__", ())) == optional, name


def test_everything_that_can_be_asked_for_can_be_said() -> None:
    assert get_type_hints(_search.SearchQuery).keys() == search_request.SearchRequest.model_fields.keys()
    explain = get_type_hints(_search.ExplainOptions).keys() | {"query", "id"}
    assert explain == search_request.ExplainRequest.model_fields.keys()


def asked(describe: Callable[..., Any]) -> set[str]:
    """The names of a method's arguments."""
    return set(inspect.signature(describe).parameters)


def test_everything_that_administrators_can_say() -> None:
    assert asked(_admin.create_key) == keys.CreateKey.model_fields.keys()
    assert asked(_admin.start_reindex) - {"collection"} == reindexes.ReindexRequest.model_fields.keys()
    assert asked(_collections.create_collection) == collections.CreateCollection.model_fields.keys()


def codes(kind: type[core.errors.SalienceError]) -> list[type[core.errors.SalienceError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in codes(child))]


@pytest.mark.parametrize("kind", codes(core.errors.SalienceError), ids=lambda kind: kind.__name__)
def test_every_error_of_the_server_has_its_class(kind: type[core.errors.SalienceError]) -> None:
    error = kind("no")
    status = app.errors.status_of(error)
    found = errors.failure(status, error.code, "no", param="k", request_id="r", retry_after=1.0)
    assert (found.status, found.code, found.param, found.request_id, found.retry_after) == (
        status,
        kind.code,
        "k",
        "r",
        1,
    )
    named = vars(errors).get(kind.__name__)
    if named is not None and kind is not core.errors.SalienceError:
        assert type(found) is named
    expected = {400: errors.InvalidRequest, 422: errors.InvalidRequest, 401: errors.Unauthorized, 403: errors.Forbidden,
                404: errors.NotFound, 409: errors.Conflict, 413: errors.TooLarge, 429: errors.RateLimited,
                503: errors.Unavailable}  # fmt: skip
    base = expected.get(status, errors.ServerFailed if status >= 500 else errors.RequestFailed)
    assert isinstance(found, base)


def test_an_older_client_understands_a_newer_server() -> None:
    report = {"seq": 1, "deleted": 2, "something": {"new": [1]}}
    assert read_as(results.Deletion, report) == results.Deletion(seq=1, deleted=2)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"seq": 1}, "has no deleted"),
        ({"seq": "1", "deleted": 2}, "seq is of type str, and not int"),
        ({"seq": True, "deleted": 2}, "seq is of type bool"),
        ({"seq": None, "deleted": 2}, "seq is null"),
        ([], "the answer is of type list, and not an object"),
    ],
)
def test_what_does_not_fit_is_not_guessed(value: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        read_as(results.Deletion, value)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(JSON | st.fixed_dictionaries({"ledger": JSON, "words": st.lists(JSON), "provenance": JSON}))
def test_no_json_at_all_makes_reading_fail_otherwise(value: Any) -> None:
    for kind in (search_results.SearchResult, search_results.Explanation, results.Job):
        with contextlib.suppress(ValueError):
            read_as(kind, value)


def test_it_loads_nothing_of_the_server() -> None:
    program = (
        "import sys; before = set(sys.modules); import salience.client; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(*sorted(new - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    # httpx and what it brings; click, rich and their kin are those of httpx's own command line
    http = {"httpx", "httpcore", "h11", "h2", "hpack", "hyperframe", "anyio", "sniffio", "certifi", "idna", "socksio"}
    allowed = {"salience", *http, "click", "rich", "pygments", "typing_extensions", "brotli", "_brotli", "zstandard"}
    assert set(done.stdout.split()) <= allowed
