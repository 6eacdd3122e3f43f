"""The JSON of a collection's statistics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Self

from pydantic import Field

from app.schemas.base import ResponseModel
from store.statistics import CollectionStatistics


class SegmentsBody(ResponseModel):
    files: int
    rows: int = Field(description="passages in them")
    tombstones: int = Field(description="those of the rows that are gone; they go with the next merge")
    bytes: int


class CollectionStatsBody(ResponseModel):
    name: str
    seq: int = Field(description="of the newest change")
    documents: int
    passages: int
    unsealed: int = Field(description="passages that are in no segment yet, nor brought to Milvus")
    elsewhere: int = Field(default=0, description="passages that Milvus holds, of a collection with the index milvus")
    embeddings: int = Field(description="passages with the same text share one")
    terms: int
    vector_bytes: int
    posting_bytes: int = Field(description="of terms")
    learned_bytes: int = Field(description="of learned weights")
    segments: SegmentsBody

    @classmethod
    def of(cls, found: CollectionStatistics) -> Self:
        return cls(**asdict(found))
