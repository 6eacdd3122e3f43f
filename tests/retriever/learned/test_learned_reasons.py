"""What explanations say of the learned sparse leg."""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

import retriever.explain
from core.prompts import Prompt, TextControl
from core.records import Representation
from embedder.explaining.request import Granularity
from embedder.lexical import Analyzer
from embedder.sparse import SparseModel
from retriever.explain import Explainer
from retriever.fusion import Fusion
from retriever.legs import Leg
from retriever.query import Explain, Query, steer
from retriever.searcher import Searcher
from retriever.unit_request import UnitMethod, UnitRequest
from retriever.words import LearnedWords, learned_words
from tests.retriever.conftest import branches, explained, lines

DENSE, SPARSE, LEARNED = Leg.DENSE, Leg.SPARSE, Leg.LEARNED
TEXTS = ["I want to play^7 on my TV.", "red^4 dress for a summer wedding", "how do I feed a cat^0", "!?"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("explain", [Explain.SCORES, Explain.WORDS])
def test_the_parts_of_every_mode_sum_to_the_score(search: Searcher, text: str, explain: Explain) -> None:
    clean, controls = steer(text)
    all_legs = [None, (SPARSE,), (LEARNED,), (SPARSE, LEARNED), (DENSE, LEARNED)]
    for legs, fusion in itertools.product(all_legs, [Fusion(learned=0.8), Fusion(method="rrf")]):
        query = Query(text=clean, controls=controls, legs=legs, fusion=fusion, explain=explain, k=2)
        for hit in search.search("both", query).hits:
            reasons = explained(hit)
            assert reasons.ledger.value == pytest.approx(hit.score, abs=1e-9)
            for branch in branches(reasons.ledger):
                total = math.fsum(line.value for line in branch.details)
                assert total == pytest.approx(branch.value, abs=1e-6), branch.description
            by_query = math.fsum(w.dense + w.sparse + w.learned for w in reasons.query_words)
            assert by_query + reasons.query_rest == pytest.approx(hit.score, abs=1e-6)


def test_what_was_made_of_one_hit_is_gone_before_the_next(
    search: Searcher, sparse: SparseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables of a hit have a column for each weight of the query: those of a whole page would take gigabytes."""
    query = Query(text="gaming console", k=10, explain=Explain.WORDS)
    whole = search.search("both", query).hits
    batches: list[int] = []
    held: list[int] = []
    trace, words = SparseModel.trace_sparse, learned_words

    def counted(self: SparseModel, prompts: Sequence[Prompt], *arguments: Any, **options: Any) -> Any:
        batches.append(len(prompts))
        return trace(self, prompts, *arguments, **options)

    def held_beside(*arguments: Any) -> LearnedWords:
        held.append(sum(type(one) is LearnedWords for one in gc.get_objects()))
        return words(*arguments)

    monkeypatch.setattr(SparseModel, "trace_sparse", counted)
    monkeypatch.setattr(retriever.explain, "learned_words", held_beside)
    monkeypatch.setattr(retriever.explain, "AT_ONCE", 4)
    monkeypatch.setattr(search, "_explainer", Explainer(search._explainer._models, Analyzer()))  # remembers no trace
    found = search.search("both", query).hits
    assert batches == [1, 4, 4, 2]
    assert len(held) == 10
    assert max(held) <= 2
    for one, other in zip(found, whole, strict=True):
        assert [line.description for line in lines(explained(one).ledger)] == [
            line.description for line in lines(explained(other).ledger)
        ]
        assert [word.effect for word in explained(one).words] == pytest.approx(
            [word.effect for word in explained(other).words], abs=1e-5
        )


def test_every_shared_token_has_its_product_and_its_words(search: Searcher, sparse: SparseModel) -> None:
    query = Query(text="gaming console", legs=(SPARSE,), explain=Explain.WORDS, k=1)
    hit = search.search("learned", query).hits[0]
    assert hit.document_id == "console"
    reasons = explained(hit)
    (leg,) = reasons.ledger.details
    assert all(line.kind == "term" for line in leg.details)
    assert math.fsum(line.value for line in leg.details) == pytest.approx(hit.score, rel=1e-12)
    products = {line.description.split(":")[0]: line for line in leg.details}
    console = products["'console'"]
    assert console.value == max(line.value for line in leg.details)
    asked = sparse.encode_sparse([Prompt.of(query.text)], Representation.QUERY).vectors[0]
    held = sparse.encode_sparse([Prompt.of(hit.text)], Representation.DOCUMENT).vectors[0]
    id_ = sparse.tokenizer.ids("console")[0]
    query_weight, weight = (float(v.weights[v.ids.tolist().index(id_)]) for v in (asked, held))
    assert console.value == pytest.approx(query_weight * weight, rel=1e-4)
    (made,) = console.details  # one token made the maximum
    assert (made.kind, made.value) == ("word", console.value)
    assert "'console' allocated to the passage" in made.description
    assert sum(word.share for word in reasons.words if word.text == "console") >= console.value
    # Without the word the next strongest token steps in: what is lost is at most what was allocated.
    assert all(-1e-9 <= word.effect <= word.share + 1e-9 for word in reasons.words)
    asked_for = {word.text: word.sparse for word in reasons.query_words}
    assert asked_for["gaming"] > 0
    assert asked_for["console"] > 0
    assert reasons.provenance["sparse_model"] == "splade"
    assert reasons.provenance["sparse_fingerprint"] == sparse.fingerprint
    assert "learned weights" in reasons.provenance["method"]


@pytest.mark.parametrize("name", ["learned", "both"])
def test_the_learned_leg_has_its_say_in_sentences_contrasts_and_suppression(
    search: Searcher, sparse: SparseModel, name: str
) -> None:
    query = Query(text="gaming console for my TV", explain=Explain.CONTRAST, k=3)
    hits = search.search(name, query).hits
    leg = "learned" if name == "both" else "sparse"
    for upper, lower in itertools.pairwise(hits):
        contrast = explained(upper).contrast
        assert contrast is not None
        for line in branches(contrast.ledger):
            assert math.fsum(detail.value for detail in line.details) == pytest.approx(line.value, abs=1e-6)
        if contrast.swap is not None:
            again = replace(query, controls=contrast.swap.controls, explain=Explain.NONE, k=40)
            ids = [hit.id for hit in search.search(name, again).hits]
            assert ids.index(lower.id) < ids.index(upper.id)
    units = UnitRequest(method=UnitMethod.ATMAN, granularity=Granularity.SENTENCE)
    why = explained(search.explain(name, replace(query, units=units), hits[0].id).hits[0])
    asked = sparse.encode_sparse([Prompt.of(query.text)], Representation.QUERY).vectors[0]
    weights = dict(zip(asked.ids.tolist(), asked.weights.tolist(), strict=True))
    text = hits[0].text
    assert not hits[0].title
    assert len(why.units) == len(why.sentences) == 2
    for unit in why.units:
        control = TextControl(start=unit.start, length=unit.end - unit.start, factor=0.1)
        whole, less = sparse.encode_sparse(
            [Prompt.of(text), Prompt.of(text, (control,))], Representation.DOCUMENT
        ).vectors
        dots = [
            sum(weights.get(i, 0.0) * w for i, w in zip(v.ids.tolist(), v.weights.tolist(), strict=True))
            for v in (whole, less)
        ]
        assert unit.legs[leg].effect == pytest.approx(dots[0] - dots[1], abs=1e-4)
        assert unit.legs[leg].effect > 0
