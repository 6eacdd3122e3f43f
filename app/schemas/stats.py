"""The JSON of a collection's statistics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Self

from pydantic import Field

from app.schemas.base import ResponseModel
from store.statistics import CollectionStatistics


class SegmentsBody(ResponseModel):
    files: int = Field(description="on the disk")
    rows: int = Field(description="passages in them")
    tombstones: int = Field(description="those of the rows that are gone; they go with the next merge")
    bytes: int = Field(description="of the files")


class CollectionStatsBody(ResponseModel):
    name: str = Field(description="its own name, also where an alias was asked")
    seq: int = Field(description="of the newest change")
    documents: int = Field(description="in the collection")
    passages: int = Field(description="in the collection")
    unsealed: int = Field(description="passages that are in no segment yet, nor brought to Milvus")
    elsewhere: int = Field(default=0, description="passages that Milvus holds, of a collection with the index milvus")
    embeddings: int = Field(description="passages with the same text share one")
    terms: int = Field(description="different ones in its vocabulary")
    vector_bytes: int = Field(description="of the vectors in the database")
    posting_bytes: int = Field(description="of terms")
    learned_bytes: int = Field(description="of learned weights")
    segments: SegmentsBody = Field(description="sealed files to search in")

    @classmethod
    def of(cls, found: CollectionStatistics) -> Self:
        return cls(**asdict(found))
