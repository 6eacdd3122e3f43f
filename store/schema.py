"""The tables. migrations/ creates them; a test holds the two together.

An index whose columns nobody searches by is a copy: see store/checksum.py.
"""

from __future__ import annotations

import sqlalchemy as sa

from store.checksum import checksum_column

metadata = sa.MetaData()

collection = sa.Table(
    "collection",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("settings", sa.Text, nullable=False),  # JSON of core.records.CollectionSettings
    sa.Column("created_at", sa.Text, nullable=False),  # ISO 8601, UTC
    sa.Index("collection_copy", "name", "settings", "created_at"),
    sqlite_autoincrement=True,
)

generation = sa.Table(
    "generation",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("collection_id", sa.ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("dimension", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # building, active or retired
    sa.Column("sparse_model", sa.Text),  # both null where the collection has no learned weights
    sa.Column("sparse_fingerprint", sa.Text),
    sa.Index(
        "generation_collection",
        "collection_id", "state", "model", "fingerprint", "dimension", "sparse_model", "sparse_fingerprint",
    ),
    # A collection has one active generation at most.
    sa.Index("generation_active", "collection_id", unique=True, sqlite_where=sa.text("state = 'active'")),
    sqlite_autoincrement=True,
)  # fmt: skip

document = sa.Table(
    "document",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("collection_id", sa.ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
    sa.Column("external_id", sa.Text, nullable=False),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("content_sha", sa.LargeBinary, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("metadata", sa.Text, nullable=False),  # JSON object
    sa.Column("text", sa.Text, nullable=False),  # long: what comes before it is read without it
    checksum_column("external_id", "language", "content_sha", "title", "metadata", "text", rewritten=True),
    sa.UniqueConstraint("collection_id", "external_id", name="document_external_id"),
    sa.Index("document_language", "collection_id", "language"),
    sqlite_autoincrement=True,
)

# A filterable field of a collection: one row for each kind of value that was declared or seen under its name.
field = sa.Table(
    "field",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("collection_id", sa.ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),  # core.records.FieldKind
    sa.UniqueConstraint("collection_id", "name", "kind", name="field_name_kind"),
    sqlite_autoincrement=True,
)

# One value of a document's metadata. A text is in `text`; a number, a boolean as 0 or 1, a date as microseconds since
# 1970 (UTC) in `number`; of a place, `number` is the latitude. All are null for a null, and for a value that is there
# but cannot be compared: a text that is too long, a number beyond float64.
document_field = sa.Table(
    "document_field",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("document_id", sa.ForeignKey("document.id", ondelete="CASCADE"), nullable=False),
    sa.Column("field_id", sa.ForeignKey("field.id", ondelete="CASCADE"), nullable=False),
    sa.Column("text", sa.Text),
    sa.Column("number", sa.Float),
    sa.Column("longitude", sa.Float),  # of a place
    sa.Index("document_field_document", "document_id"),
    sa.Index("document_field_text", "field_id", "text", "document_id"),
    sa.Index("document_field_number", "field_id", "number", "document_id", sqlite_where=sa.text("number IS NOT NULL")),
    sa.Index(
        "document_field_place",
        "field_id", "number", "longitude", "document_id",
        sqlite_where=sa.text("longitude IS NOT NULL"),
    ),
)  # fmt: skip

term = sa.Table(
    "term",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("collection_id", sa.ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.UniqueConstraint("collection_id", "text", name="term_text"),
    sqlite_autoincrement=True,
)

# AUTOINCREMENT: an id is never given twice, so an id that someone holds never comes to mean another passage.
passage = sa.Table(
    "passage",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("document_id", sa.ForeignKey("document.id", ondelete="CASCADE"), nullable=False),
    sa.Column("start", sa.Integer, nullable=False),  # code points of document.text; see core.records.Passage
    sa.Column("end", sa.Integer, nullable=False),
    sa.Column("fresh", sa.Integer, nullable=False),
    sa.Column("sha", sa.LargeBinary, nullable=False),  # of all that its embedding depends on
    sa.Index("passage_document", "document_id", "start", "end", "fresh"),
    sa.Index("passage_sha", "sha", "document_id"),
    sqlite_autoincrement=True,
)

embedding = sa.Table(
    "embedding",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("generation_id", sa.ForeignKey("generation.id", ondelete="CASCADE"), nullable=False),
    sa.Column("sha", sa.LargeBinary, nullable=False),
    sa.Column("dense", sa.LargeBinary, nullable=False),  # float32 little-endian, (dimension,)
    sa.Column("sparse", sa.LargeBinary, nullable=False),  # pairs of term id (int32) and frequency (float32)
    sa.Column("learned", sa.LargeBinary),  # pairs of vocabulary token id (int32) and weight (float32), or null
    checksum_column("sha", "dense", "sparse", "learned"),
    sa.UniqueConstraint("generation_id", "sha", name="embedding_sha"),
)

# The log that snapshots follow. "+": the passage is searchable from here on; "-": it is gone;
# "=": its document's metadata was replaced. It outlives the passages that it speaks of.
change = sa.Table(
    "change",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("generation_id", sa.ForeignKey("generation.id", ondelete="CASCADE"), nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("passage_id", sa.Integer, nullable=False),
    sa.Index("change_generation", "generation_id", "seq", "operation", "passage_id"),
    sqlite_autoincrement=True,
)

# A file below segments/ with live passages of a generation, made from the embeddings: see store/segments/sealing.py.
# Every passage that came up to the highest `seq` of the active ones, and has not gone, is in one of them.
segment = sa.Table(
    "segment",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("generation_id", sa.ForeignKey("generation.id", ondelete="CASCADE"), nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # active or retired
    sa.Column("name", sa.Text, nullable=False),  # of the file
    sa.Column("seq", sa.Integer, nullable=False),  # no passage in it came after this change
    sa.Column("as_of", sa.Integer, nullable=False),  # no passage in it went up to this change
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("bytes", sa.Integer, nullable=False),
    sa.Column("sha256", sa.LargeBinary, nullable=False),  # of the file's header, which holds those of its arrays
    sa.Column("retired_at", sa.Float),  # seconds since 1970
    sa.UniqueConstraint("name", name="segment_name"),
    sa.Index(
        "segment_generation",
        "generation_id", "state", "id", "seq", "as_of", "name", "rows", "bytes", "sha256", "retired_at",
    ),
    sqlite_autoincrement=True,
)  # fmt: skip

# Documents that are to be added to a collection. Times are seconds since 1970 by the database's clock.
# A lease, and a pause, are judged by their distance from now in either direction: see store/jobs/lease.py.
job = sa.Table(
    "job",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("collection_id", sa.ForeignKey("collection.id", ondelete="SET NULL")),
    sa.Column("collection", sa.Text, nullable=False),  # the name, which outlives the collection
    sa.Column("state", sa.Text, nullable=False),  # core.records.JobState
    sa.Column("reason", sa.Text),
    sa.Column("key", sa.Text),  # the caller's idempotency key
    sa.Column("digest", sa.LargeBinary),  # sha256 of what was sent
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.Column("token", sa.Integer, nullable=False),  # grows with every lease; what is written must name the newest
    sa.Column("worker", sa.Text),  # who holds the lease; null: nobody
    sa.Column("leased_at", sa.Float),
    sa.Column("lease_seconds", sa.Float),
    sa.Column("turn", sa.Integer, nullable=False),  # when it was last served: the lowest is next
    sa.Column("attempts", sa.Integer, nullable=False),  # failures since the last success that may end it
    sa.Column("pauses", sa.Integer, nullable=False),  # all failures since the last success
    sa.Column("paused_at", sa.Float),
    sa.Column("pause_seconds", sa.Float),
    sa.Column("total", sa.Integer, nullable=False),
    sa.Column("pending", sa.Integer, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),
    sa.Column("created", sa.Integer, nullable=False),
    sa.Column("replaced", sa.Integer, nullable=False),
    sa.Column("updated", sa.Integer, nullable=False),
    sa.Column("unchanged", sa.Integer, nullable=False),
    sa.Column("duplicates", sa.Integer, nullable=False),
    sa.Column("truncated", sa.Integer, nullable=False),
    sa.Column("passages", sa.Integer, nullable=False),
    sa.Column("tokens", sa.Integer, nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("busy_seconds", sa.Float, nullable=False),
    sa.Index("job_key", "collection_id", "key", unique=True),
    sa.Index("job_state", "state"),
    sa.Index("job_turn", "turn"),
    sa.Index(
        "job_copy",
        "collection_id", "collection", "state", "reason", "key", "digest", "created_at", "ended_at", "token", "worker",
        "leased_at", "lease_seconds", "turn", "attempts", "pauses", "paused_at", "pause_seconds", "total", "pending",
        "failed", "created", "replaced", "updated", "unchanged", "duplicates", "truncated", "passages", "tokens", "seq",
        "busy_seconds",
    ),
    sqlite_autoincrement=True,
)  # fmt: skip

# Documents of a job that wait, as many in a row as one commit takes. The row goes in that commit.
job_batch = sa.Table(
    "job_batch",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("job_id", sa.ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),  # of its first document within the job: batches go by it
    sa.Column("documents", sa.Integer, nullable=False),  # how many
    sa.Column("crashes", sa.Integer, nullable=False),  # workers that vanished while it was next
    sa.Column("payload", sa.LargeBinary, nullable=False),  # see store/jobs/payload.py
    checksum_column("documents", "payload"),
    sa.UniqueConstraint("job_id", "number", name="job_batch_number"),
    sa.Index("job_batch_crashes", "job_id", "crashes"),
)

# What a job has to say of single documents.
job_notice = sa.Table(
    "job_notice",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("job_id", sa.ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),  # error, duplicate or truncated
    sa.Column("document_id", sa.Text),
    sa.Column("path", sa.Text),
    sa.Column("line", sa.Integer),
    sa.Column("code", sa.Text),  # of an error, as its reason
    sa.Column("reason", sa.Text),
    sa.Column("payload", sa.LargeBinary),  # the document, where another try makes sense
    checksum_column("kind", "document_id", "path", "line", "code", "reason", "payload"),
    sa.Index("job_notice_kind", "job_id", "kind", "id"),
    sqlite_autoincrement=True,
)

# A key of the API: see core/access.py. Rows are never deleted: a key that was once given is never another one's.
# Times are seconds since 1970. `revision` grows with whatever a key may do less or more: see store/keys.py.
api_key = sa.Table(
    "api_key",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("salt", sa.LargeBinary, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),  # core.access.digest_of
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text),  # null: the operator's own
    sa.Column("role", sa.Text, nullable=False),  # core.access.Role
    sa.Column("patterns", sa.Text, nullable=False),  # JSON array
    sa.Column("rows", sa.Text),  # JSON of a filter
    sa.Column("limits", sa.Text, nullable=False),  # JSON of core.access.Limits
    sa.Column("created_at", sa.Float, nullable=False),
    *(sa.Column(name, sa.Float) for name in ("expires_at", "revoked_at", "last_used_at")),  # the last within a minute
    sa.Column("replaced_by", sa.Integer),  # api_key.id
    sa.Column("revision", sa.Integer, nullable=False),
    sa.UniqueConstraint("prefix", name="api_key_prefix"),
    sa.Index("api_key_revision", "revision"),
    sa.Index(
        "api_key_copy",
        "prefix", "salt", "digest", "name", "tenant", "role", "patterns", "rows", "limits", "created_at", "expires_at",
        "revoked_at", "last_used_at", "replaced_by",
    ),
    sqlite_autoincrement=True,
)  # fmt: skip

# What administrators did: never a text or a secret.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),  # seconds since 1970
    *(sa.Column(name, sa.Text, nullable=False) for name in ("who", "action", "target", "outcome")),  # audit.Action
    sa.Index("audit_copy", "at", "who", "action", "target", "outcome"),
    sqlite_autoincrement=True,
)

# A second name of a collection, which searches, reads and writes follow.
alias = sa.Table(
    "alias",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("collection_id", sa.ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
    sa.UniqueConstraint("name", name="alias_name"),
    sa.Index("alias_collection", "collection_id", "name"),
    sqlite_autoincrement=True,
)

# A collection that is made anew beside itself: core.records.Reindex says what the columns mean.
# The generation that does not answer is a collection of its own, of a hidden name: see store/reindex.
reindex = sa.Table(
    "reindexing",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("collection", sa.Text, nullable=False),
    sa.Column("serving_id", sa.ForeignKey("collection.id", ondelete="SET NULL")),
    sa.Column("hidden_id", sa.ForeignKey("collection.id", ondelete="SET NULL")),
    sa.Column("state", sa.Text, nullable=False),  # core.records.ReindexState
    sa.Column("reason", sa.Text),
    sa.Column("auto_switch", sa.Boolean, nullable=False),
    *(sa.Column(name, sa.Float, nullable=False) for name in ("share", "grace_seconds", "min_recall")),
    sa.Column("judgements", sa.Text),
    sa.Column("min_gain", sa.Float),
    sa.Column("report", sa.Text),
    sa.Column("cursor", sa.Text),
    sa.Column("scanned", sa.Boolean, nullable=False),
    *(sa.Column(name, sa.Integer, nullable=False) for name in ("total", "done", "passages", "tokens", "failures")),
    *(sa.Column(name, sa.Float, nullable=False) for name in ("busy_seconds", "created_at")),
    *(sa.Column(name, sa.Float) for name in ("switched_at", "ended_at", "paused_at", "pause_seconds")),
    sa.Index("reindex_serving", "serving_id", "hidden_id", "state"),
    sa.Index("reindex_hidden", "hidden_id", unique=True),
    sa.Index(
        "reindex_copy",
        "collection", "serving_id", "hidden_id", "state", "reason", "share", "auto_switch", "grace_seconds",
        "min_recall", "judgements", "min_gain", "report", "cursor", "scanned", "total", "done", "passages", "tokens",
        "failures", "busy_seconds", "created_at", "switched_at", "ended_at", "paused_at", "pause_seconds",
    ),
    sqlite_autoincrement=True,
)  # fmt: skip

# Documents that were written, and are to be brought to the hidden generation. One that is written again gets a new id:
# whoever brings an earlier state of it cannot strike it out.
reindex_pending = sa.Table(
    "reindexing_pending",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("reindex_id", sa.ForeignKey("reindexing.id", ondelete="CASCADE"), nullable=False),
    sa.Column("external_id", sa.Text, nullable=False),
    sa.UniqueConstraint("reindex_id", "external_id", name="reindex_pending_document"),
    sa.Index("reindex_pending_order", "reindex_id", "id"),
    sqlite_autoincrement=True,
)
