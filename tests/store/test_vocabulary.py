"""Near terms, against the distance to every term, by recursion."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.records import CollectionSettings
from store import Database, Views
from store.catalog import create_collection
from store.terms import register_terms
from store.view import View
from store.vocabulary import Vocabularies, _differing, _matrix, _signatures, distances
from tests.store.effort import steps

WORDS = st.text(alphabet="abcdé机", min_size=1, max_size=8)


def slow_distance(left: str, right: str) -> int:
    @cache
    def apart(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        found = min(apart(i - 1, j) + 1, apart(i, j - 1) + 1, apart(i - 1, j - 1) + (left[i - 1] != right[j - 1]))
        if i > 1 and j > 1 and left[i - 1] == right[j - 2] and left[i - 2] == right[j - 1]:
            found = min(found, apart(i - 2, j - 2) + 1)
        return found

    return apart(len(left), len(right))


@settings(deadline=None)
@given(WORDS, st.lists(WORDS, max_size=12))
def test_distances_equal_the_recursion(word: str, others: list[str]) -> None:
    assert distances(word, others).tolist() == [slow_distance(word, other) for other in others]


def test_distances_by_hand() -> None:
    assert distances("teh", ["the", "teh", "tech", "he", "eth"]).tolist() == [1, 0, 1, 2, 1]
    assert distances("ca", ["abc"]).tolist() == [3]  # no part is edited twice


@settings(deadline=None)
@given(WORDS, WORDS)
def test_signatures_never_rule_out_what_is_near(left: str, right: str) -> None:
    matrix, lengths = _matrix([left, right])
    apart = slow_distance(left, right)
    characters, pairs = _signatures(matrix, lengths)
    assert _differing(characters[:1], characters[1]) <= apart
    assert _differing(pairs[:1], pairs[1]) <= 3 * apart


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    database = Database.open(Path(tmp_path_factory.mktemp("terms")))
    with database.write() as session:
        for name in ("words", "others"):
            create_collection(session, name, CollectionSettings(), model="m", fingerprint="f", dimension=2)
    return database


def test_near_terms_are_those_at_the_distance_and_new_ones_are_found_at_once(database: Database) -> None:
    rng = np.random.default_rng(3)
    letters = np.array(list("aeinrst"))
    texts = sorted({"".join(rng.choice(letters, size=rng.integers(2, 9))) for _ in range(600)})
    texts += ["x" * 41]  # longer than can be found
    vocabularies = Vocabularies()
    views = Views(database)
    for batch in (texts[::2], texts[1::2]):
        with database.write() as session:
            collection = views.collection("words")
            register_terms(session, collection.id, batch)
        with views.open("words") as view:
            known = texts[::2] if batch is texts[::2] else texts
            present = set(texts[::2]) | set(batch)
            for word in ("retain", "star", "ants", "tests", "x" * 41, "", "q"):
                for edits in (1, 2):
                    near = {text: apart for text in present if (apart := slow_distance(word, text)) <= edits}
                    near = {text: apart for text, apart in near.items() if len(text) <= 40}
                    assert vocabularies.near(view, word, edits) == (near if 0 < len(word) <= 40 else {})
            assert known
    with views.open("others") as view:
        assert vocabularies.near(view, "retain", 2) == {}
        assert vocabularies.containing(view, "r") == []


def test_beginnings_are_the_terms_near_to_one_of_them(database: Database) -> None:
    rng = np.random.default_rng(4)
    letters = np.array(list("aeinrsté"))
    texts = sorted({"".join(rng.choice(letters, size=rng.integers(2, 12))) for _ in range(300)})
    texts += ["res", "réta", "rétain", "retai", "reta"]
    views, vocabularies = Views(database), Vocabularies()
    with database.write() as session:
        parts = create_collection(session, "parts", CollectionSettings(), model="m", fingerprint="f", dimension=2)
        register_terms(session, parts.id, texts)
    with views.open("parts") as view:
        for word in ("retainers", "rétaineres", "ret", "sat", "x" * 41, "re", "r", ""):
            for edits in (0, 1):
                expected = {}
                for text in texts:
                    apart = min((slow_distance(word[:end], text) for end in range(1, len(word) + 1)), default=9)
                    if len(text) >= max(3, len(word) // 2 - 1) and text[:3] == word[:3] and apart <= edits:
                        expected[text] = apart
                assert vocabularies.beginnings(view, word, edits) == (expected if len(word) <= 40 else {})


def test_terms_are_found_by_a_character_that_they_hold(database: Database) -> None:
    views, vocabularies = Views(database), Vocabularies()
    texts = ["猫", "猫咪", "小猫", "猫猫", "小咪", "a.c", "abc"]
    for known in (texts[:3], texts):
        with database.write() as session:
            register_terms(session, views.collection("words").id, known)
        with views.open("words") as view:
            assert sorted(vocabularies.containing(view, "猫")) == sorted(t for t in known if "猫" in t)
    with views.open("words") as view:
        assert vocabularies.containing(view, "a.") == ["a.c"]


def effort(view: View, vocabularies: Vocabularies) -> int:
    with steps(view.session) as found:
        vocabularies.near(view, "retain", 1)
    return len(found)


@pytest.mark.parametrize("own", [50, 5_000])
def test_the_terms_of_other_collections_are_not_walked_for_every_word(database: Database, own: int) -> None:
    views, vocabularies = Views(database), Vocabularies()
    name = f"of{own}"
    with database.write() as session:
        create_collection(session, name, CollectionSettings(), model="m", fingerprint="f", dimension=2)
    collections = {each: views.collection(each).id for each in (name, "others")}
    with database.write() as session:
        register_terms(session, collections[name], [f"own{i}" for i in range(own)])
    with views.open(name) as view:
        vocabularies.near(view, "own1", 1)
    with database.write() as session:
        register_terms(session, collections["others"], [f"other{own}x{i}" for i in range(3_000)])
    with views.open(name) as view:
        if own < 3_000:
            assert effort(view, vocabularies) < own // 5, "no more than its own terms are looked at"
        vocabularies.near(view, "own1", 1)
        assert effort(view, vocabularies) < 2, "those of others were looked at before"
    with database.write() as session:
        register_terms(session, collections[name], ["retains"])
    with views.open(name) as view:
        assert effort(view, vocabularies) < 2
        assert vocabularies.near(view, "retain", 1) == {"retains": 1}
        assert "own1" in vocabularies.near(view, "own1", 1), "what was known stays"


def test_an_older_state_finds_what_a_newer_one_has_read(database: Database) -> None:
    views, vocabularies = Views(database), Vocabularies()
    with views.open("words") as old:
        with database.write() as session:
            register_terms(session, old.collection.id, ["zzyzx"])
        with views.open("words") as new:
            assert vocabularies.near(new, "zzyz", 1) == {"zzyzx": 1}
        vocabularies.near(old, "zzyz", 1)
        with database.write() as session:
            register_terms(session, old.collection.id, ["zzyzy"])
    with views.open("words") as view:
        assert vocabularies.near(view, "zzyz", 1) == {"zzyzx": 1, "zzyzy": 1}
