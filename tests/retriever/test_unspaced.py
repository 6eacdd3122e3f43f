"""Words within Thai, Lao, Khmer and Burmese sentences, which have no spaces between them."""

from pathlib import Path

import pytest

from core.records import Document
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from indexer.pipeline import Pipeline
from retriever.extras import Extras
from retriever.legs import Leg
from retriever.query import Query
from retriever.searcher import Searcher
from retriever.wordconditions import WordConditions
from store import Database, Views
from tests.collections import create_for

TEXTS = {
    "th": "แมวนอนหลับอยู่บนโซฟาทุกวันในตอนบ่ายและไม่ชอบให้ใครรบกวน",
    "lo": "ແມວນອນຢູ່ໃນເຮືອນ",
    "km": "ឆ្មាដេកលើសាឡុងរៀងរាល់ថ្ងៃ។",
    "my": "ကြောင်သည်ဆိုဖာပေါ်တွင်အိပ်သည်။",
}


@pytest.mark.parametrize(
    ("word", "document"), [("โซฟา", "th"), ("ตอนบ่าย", "th"), ("ເຮືອນ", "lo"), ("សាឡុង", "km"), ("ဆိုဖာ", "my")]
)
def test_a_word_is_found_within_a_sentence(tmp_path: Path, encoder: LocalEncoder, word: str, document: str) -> None:
    database = Database.open(tmp_path)
    create_for(encoder, database, "small")
    documents = [Document(id=id_, text=text) for id_, text in TEXTS.items()]
    assert not Pipeline(database, only(encoder), Analyzer()).add("small", documents).failed
    searcher = Searcher(Views(database), only(encoder), Analyzer())
    (hit, *_) = searcher.search("small", Query(text=word, legs=(Leg.SPARSE,), extras=Extras(highlight=True))).hits
    assert hit.document_id == document
    assert hit.highlight is not None
    assert word in [hit.text[start:end] for start, end in hit.highlight.passage]
    required = Query(text="cat", k=10, conditions=WordConditions(must=(word,)))
    assert [hit.document_id for hit in searcher.search("small", required).hits] == [document]
    database.close()
