"""Collection settings: which values are valid, which settings can be changed at any time, and how they are stored."""

from __future__ import annotations

import difflib
import json
import math
import re
from functools import lru_cache

from core.errors import InvalidSettings
from core.passages import MAX_TITLE_WEIGHT
from core.records import DECLARABLE, MAX_K1, CollectionSettings, FieldKind, IndexKind, SparseScoring
from core.synonyms import check_synonyms
from core.unicode import is_unicode
from store.filters.metadata import MAX_NAME

CHANGEABLE = ("alpha", "k1", "b", "synonyms")  # settings that no stored data depends on
_LANGUAGE = re.compile(r"auto|[a-z]{2,3}")


def check_changeable(setting: str) -> None:
    """Raises InvalidSettings unless the setting of a collection can be changed while it holds documents."""
    if setting in CHANGEABLE:
        return
    if setting in CollectionSettings.__dataclass_fields__:
        raise InvalidSettings(
            f"{setting} cannot be changed: the documents were stored by it. Reindex the collection with another one; "
            f"what can be changed at any time is {', '.join(CHANGEABLE)}",
            param=setting,
        )
    near = difflib.get_close_matches(setting, CHANGEABLE, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"what can be changed is {', '.join(CHANGEABLE)}"
    raise InvalidSettings(f"there is no setting {setting!r:.140}; {hint}", param=setting)


def check_given(k1: float) -> None:
    """Raises InvalidSettings for a k1 that can no longer be set, although older collections may have it."""
    if not 0 <= k1 <= MAX_K1:
        raise InvalidSettings(f"k1 {k1}: must be between 0 and {MAX_K1:g}", param="k1")


def check_settings(settings: CollectionSettings) -> None:
    """Raises InvalidSettings that names the setting and what is allowed for it."""
    if not _LANGUAGE.fullmatch(settings.language):
        raise InvalidSettings(
            f"language {settings.language!r}: must be an ISO 639-1 code such as 'en', or 'auto'", param="language"
        )
    tokens = settings.passage_tokens
    if tokens is not None and tokens < 1:
        raise InvalidSettings(f"passage_tokens {tokens}: must be 1 or more", param="passage_tokens")
    if settings.overlap_tokens < 0 or (tokens is not None and settings.overlap_tokens >= tokens):
        raise InvalidSettings(
            f"overlap_tokens {settings.overlap_tokens}: must be 0 or more and less than passage_tokens",
            param="overlap_tokens",
        )
    if not (math.isfinite(settings.k1) and settings.k1 >= 0):
        raise InvalidSettings(f"k1 {settings.k1}: must be a finite number, 0 or more", param="k1")
    if not 0 <= settings.b <= 1:
        raise InvalidSettings(f"b {settings.b}: must be between 0 and 1", param="b")
    if not 0 <= settings.title_weight <= MAX_TITLE_WEIGHT:
        raise InvalidSettings(
            f"title_weight {settings.title_weight}: must be a whole number from 0 to {MAX_TITLE_WEIGHT}",
            param="title_weight",
        )
    if not 0 <= settings.alpha <= 1:
        raise InvalidSettings(f"alpha {settings.alpha}: must be between 0 and 1", param="alpha")
    if settings.sparse not in tuple(SparseScoring):
        raise InvalidSettings(f"sparse {settings.sparse!r}: must be one of {', '.join(SparseScoring)}", param="sparse")
    if settings.index not in tuple(IndexKind):
        raise InvalidSettings(f"index {settings.index!r}: must be one of {', '.join(IndexKind)}", param="index")
    check_synonyms(settings.synonyms)
    for field, kind in settings.fields.items():
        if not (0 < len(field) <= MAX_NAME and is_unicode(field)):
            raise InvalidSettings(
                f"field {field!r:.140}: its name must have 1 to {MAX_NAME} characters and be valid Unicode",
                param="fields",
            )
        if kind not in DECLARABLE:
            raise InvalidSettings(
                f"field {field!r}: kind {kind!r} must be one of {', '.join(DECLARABLE)}", param="fields"
            )


@lru_cache(maxsize=256)  # called by every search, and synonyms may be many
def parse_settings(stored: str) -> CollectionSettings:
    """Parse stored settings. Raises ValueError, TypeError, KeyError or AttributeError for invalid ones."""
    settings = {"title_weight": 1, **json.loads(stored)}  # 1: the behaviour before the setting existed
    settings["fields"] = {name: FieldKind(kind) for name, kind in settings["fields"].items()}
    settings["sparse"] = SparseScoring(settings.get("sparse", SparseScoring.BM25))  # missing in older collections
    settings["index"] = IndexKind(settings.get("index", IndexKind.AUTO))
    settings["synonyms"] = {word: tuple(others) for word, others in settings.get("synonyms", {}).items()}
    return CollectionSettings(**settings)


def check_sparse_model(scoring: SparseScoring, model: str | None) -> None:
    """Raises InvalidSettings where `scoring` needs no sparse model but one is given, or needs one that is missing."""
    if scoring is SparseScoring.BM25 and model is not None:
        raise InvalidSettings(
            f"sparse is bm25, which takes no model: leave {model!r} out, or ask for learned or both", param="sparse"
        )
    if scoring is not SparseScoring.BM25 and model is None:
        raise InvalidSettings(f"sparse is {scoring.value}: name the sparse model as well", param="sparse_model")
