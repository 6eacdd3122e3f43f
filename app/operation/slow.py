"""Describes the shape of a search for the log: what work it did, without any text, field name or value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.filter_tree import And, Every, Filter, In, Not, Or
from retriever.query import Query
from retriever.result import SearchResult


def shape_of(result: SearchResult, stages_ms: Mapping[str, float]) -> dict[str, Any]:
    """Return the collection, legs, options, counts and times. Names of fields are left out: users wrote them."""
    query = result.query
    return {
        "collection": result.collection,
        "generation": result.generation.id,
        "legs": [leg.value for leg in result.legs],
        "k": query.k,
        "offset": query.offset,
        "options": options_of(query),
        "query_characters": len(query.text),
        "hits": len(result.hits),
        "left_out": list(result.left_out),
        "stages_ms": {stage: round(took, 1) for stage, took in stages_ms.items()},
    }


def options_of(query: Query) -> dict[str, Any]:
    """Return the options that differ from a plain search; empty for a plain one."""
    conditions, inputs = query.conditions, query.inputs
    found = {
        "filter": None if query.filter is None else filter_shape(query.filter),
        "fusion": query.fusion.method,
        "explain": None if query.explain == "none" else query.explain.value,
        "units": None if query.units is None else query.units.method.value,
        "controls": len(query.controls),
        "must": len(conditions.must) + len(conditions.phrases),
        "must_not": len(conditions.must_not),
        "examples": len(inputs.like) + len(inputs.unlike),
        "vector": inputs.vector is not None,
        "sparse_vector": inputs.sparse_vector is not None,
        "prompt": inputs.prompt is not None,
        "cursor": query.cursor is not None,
        "min_scores": len(query.selection.min_scores),
        "diversity": query.selection.diversity,
        "grouped": query.selection.group_by is not None,
        "facets": len(query.extras.facets),
        "highlight": query.extras.highlight,
        "suggest": query.extras.suggest,
        "timeout_ms": query.timeout_ms,
    }
    return {name: value for name, value in found.items() if value}


def filter_shape(tree: Filter) -> str:
    """Return the structure of a filter without names and values, such as `and(range, in(3), not(exists))`."""
    match tree:
        case And(parts=parts):
            return f"and({', '.join(map(filter_shape, parts))})"
        case Or(parts=parts):
            return f"or({', '.join(map(filter_shape, parts))})"
        case Not(part=part):
            return f"not({filter_shape(part)})"
        case Every(part=comparison):
            return f"every({filter_shape(comparison)})"
        case In(values=values):
            return f"in({len(values)})"
        case _:
            return type(tree).__name__.lower()
