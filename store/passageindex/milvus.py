"""The passage index on Milvus."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from core.context import check_awaited, current_answer
from core.errors import IndexMissing, IndexUnavailable, InvalidSettings
from core.records import Float32Array, Int32Array, Int64Array
from store.passageindex import rows
from store.passageindex.protocol import MOST, Entries, Weights
from store.passageindex.silence import Silence

_GRAPH = {"M": 32, "efConstruction": 200}  # neighbours of a passage, and candidates considered when choosing them
_LEAST_EF = 64  # candidates kept by a graph search; Milvus requires at least as many as are asked for
_PAGE_BYTES, _PAGE_ROWS = 2**24, 500  # bytes of vectors, and passages, read at once
_REMOVED_ROWS = 10_000  # ids per delete request
_STRONG = {"consistency_level": "Strong"}  # a query sees everything written before it
# Pages in the order of ids: the options that pymilvus' own iterator sends. The iterator itself has no time limit, and
# keeps its results where all threads share them.
_IN_ORDER = {"iterator": "True", "reduce_stop_for_best": "True"}
_CHANNEL = {"grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 1000}
_COLLECTION_NOT_FOUND, _COLLECTION_NOT_LOADED = 100, 101
_NEARLY = 0.9  # share of the time limit after which a failure counts as silence
_UNSUPPORTED = (6, 1100)  # "illegal argument" and "invalid parameter"
_REASON_LENGTH = 300  # characters of Milvus' error message in a log line
_log = logging.getLogger(__name__)


class Milvus:
    """A `PassageIndex`; each index is a Milvus collection. Connects at the first use, and again after an outage.

    Milvus' own error messages are logged. Users see messages that contain neither these nor the address, and name the
    settings instead.
    """

    def __init__(self, uri: str, *, token: str = "", database: str = "default", timeout_seconds: float = 10.0) -> None:
        """`uri`: http or https, host and port. `token`: an API key or user:password. `timeout_seconds`: per request.

        Raises InvalidSettings where pymilvus is not installed.
        """
        try:
            self._library, self._grpc = import_module("pymilvus"), import_module("grpc")
        except ModuleNotFoundError as error:
            raise InvalidSettings(
                f"collections with the index milvus need a package that is not installed, {error.name}: "
                "in a checkout of Salience, pip install '.[milvus]'"
            ) from error
        self._options = {"uri": uri, "token": token, "db_name": database}
        self._timeout_seconds = timeout_seconds
        self._client: Any = None
        self._connecting = threading.Lock()
        self._place = f"Milvus at {uri}, database {database!r}"
        self._silence = Silence(_SILENT)
        self._closed = False
        self._indexes_lists = True  # until this Milvus refuses

    def close(self) -> None:
        """Close the connection. Calls in progress and later ones raise IndexUnavailable."""
        self._closed = True
        with self._connecting:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def check(self) -> str:
        with self._answered("check"):
            self._call("has_collection", "salience")  # get_server_version checks neither the token nor the database
            return f"Milvus {self._call('get_server_version')}"

    def create(self, name: str, dimension: int, *, learned: bool) -> None:
        kinds = (Weights.BM25, Weights.LEARNED) if learned else (Weights.BM25,)
        with self._answered("create"):
            self._make(name, dimension, kinds)
            has = self._call("list_indexes", name)
            self._index(name, has, "dense", index_type="HNSW", metric_type="IP", params=_GRAPH)
            for kind in kinds:
                self._index(name, has, kind.value, index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
                self._index_list(name, has, rows.LISTED[kind])
            self._call("load_collection", name)

    def count(self, name: str) -> int:
        with self._answered("count"):
            return int(self._read("query", name, filter="", output_fields=["count(*)"], **_STRONG)[0]["count(*)"])

    def drop(self, name: str) -> None:
        with self._answered("drop"):
            self._call("drop_collection", name)

    def put(self, name: str, entries: Entries) -> None:
        for block in rows.blocks(entries):
            with self._answered("put"):
                self._call("upsert", name, block)

    def remove(self, name: str, ids: Int64Array) -> None:
        for begin in range(0, len(ids), _REMOVED_ROWS):
            with self._answered("remove"):
                self._call("delete", name, ids=ids[begin : begin + _REMOVED_ROWS].tolist())

    def nearest(self, name: str, vector: Float32Array, limit: int, among: Int64Array | None = None) -> Int64Array:
        data = np.ascontiguousarray(vector, dtype=np.float32)
        return self._search(name, "dense", data, limit, among, ef=max(limit, _LEAST_EF))[0]

    def matching(
        self,
        name: str,
        weights: Weights,
        ids: Int32Array,
        factors: Float32Array,
        limit: int,
        among: Int64Array | None = None,
    ) -> Int64Array:
        found, scores = self._search(name, weights.value, rows.vector(ids, factors), limit, among)
        return found[scores > 0]  # an engine may fill up the result where fewer match

    def holding(self, name: str, weights: Weights, ids: Int32Array) -> Int64Array:
        condition = f"array_contains_any({rows.LISTED[weights]}, {[*ids.tolist(), rows.UNLISTED]})"
        pages = self._pages(name, condition, ["id"], MOST)
        return np.array([row["id"] for page in pages for row in page], dtype=np.int64)

    def entries(self, name: str) -> Iterator[Entries]:
        with self._answered("describe"):
            fields = {field["name"]: field for field in self._call("describe_collection", name)["fields"]}
        dimension, learned = int(fields["dense"]["params"]["dim"]), Weights.LEARNED.value in fields
        wanted = ["id", "dense", Weights.BM25.value, *([Weights.LEARNED.value] if learned else [])]
        for page in self._pages(name, "", wanted, max(1, min(_PAGE_ROWS, _PAGE_BYTES // (4 * dimension)))):
            yield rows.entries_of(page, dimension, learned=learned)

    def _make(self, name: str, dimension: int, kinds: tuple[Weights, ...]) -> None:
        if self._call("has_collection", name):
            return
        types = self._library.DataType
        layout = self._library.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        layout.add_field("id", types.INT64, is_primary=True)
        layout.add_field("dense", types.FLOAT_VECTOR, dim=dimension)
        for kind in kinds:
            layout.add_field(kind.value, types.SPARSE_FLOAT_VECTOR)
            most = rows.LISTED_MOST
            layout.add_field(rows.LISTED[kind], types.ARRAY, element_type=types.INT64, max_capacity=most)
        try:
            self._call("create_collection", name, schema=layout, **_STRONG)
        except self._library.MilvusException:
            if not self._call("has_collection", name):
                raise  # otherwise another process was quicker

    def _index(self, name: str, has: list[str], field: str, **params: Any) -> None:
        if field in has:
            return
        wanted = self._library.MilvusClient.prepare_index_params()
        wanted.add_index(field, index_name=field, **params)
        try:
            self._call("create_index", name, wanted)
        except self._library.MilvusException:
            if field not in self._call("list_indexes", name):
                raise  # otherwise another process was quicker

    def _index_list(self, name: str, has: list[str], field: str) -> None:
        if not self._indexes_lists:
            return
        try:
            self._index(name, has, field, index_type="INVERTED")
        except self._library.MilvusException as error:
            if error.code not in _UNSUPPORTED:
                raise
            self._indexes_lists = False
            _log.info("this Milvus has no index for lists, and will look through all of them: %s", _reason(error))

    def _search(
        self,
        name: str,
        field: str,
        data: Float32Array | dict[int, float],
        limit: int,
        among: Int64Array | None,
        **params: int,
    ) -> tuple[Int64Array, Float32Array]:
        """Ids (n,) and scores (n,), best first."""
        if among is not None and not len(among):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        with self._answered("search"):
            hits = self._read(
                "search",
                name,
                data=[data],
                anns_field=field,
                limit=limit,
                filter="" if among is None else f"id in {among.tolist()}",
                output_fields=["id"],  # without it some versions send the vectors, too
                search_params={"metric_type": "IP", "params": params},
                **_STRONG,
            )[0]
        return np.array(hits.ids, dtype=np.int64), np.array(hits.distances, dtype=np.float32)

    def _pages(self, name: str, condition: str, fields: list[str], size: int) -> Iterator[list[dict[str, Any]]]:
        """All rows that satisfy the condition, by id, in pages of at most `size`."""
        last = -1
        while True:
            text = f"id > {last} and {condition}" if condition else f"id > {last}"
            with self._answered("query"):
                options = {"filter": text, "output_fields": fields, "limit": size, **_IN_ORDER, **_STRONG}
                page = list(self._read("query", name, **options))
            if not page:
                return
            yield page
            last = int(page[-1]["id"])

    def _read(self, method: str, name: str, **options: Any) -> Any:
        """Like `_call`, but loads a collection that was released, or left unloaded by a restart."""
        try:
            return self._call(method, name, **options)
        except self._library.MilvusException as error:
            if error.code != _COLLECTION_NOT_LOADED:
                raise
        self._call("load_collection", name)
        return self._call(method, name, **options)

    @contextmanager
    def _answered(self, what: str) -> Iterator[None]:
        """Translate errors of the connection and of Milvus into ours. `what`: the operation, for the log."""
        try:
            yield
        except (self._library.MilvusException, self._grpc.RpcError) as error:
            _log.warning("%s: %s failed: %s", self._place, what, _reason(error))
            if getattr(error, "code", None) == _COLLECTION_NOT_FOUND:
                raise IndexMissing(_MISSING) from error
            raise IndexUnavailable(_SILENT) from error

    def _call(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of the client within the time limit. Raises errors of pymilvus and gRPC."""
        check_awaited()
        answer = current_answer()
        remaining = None if answer is None else answer.remaining
        seconds = self._timeout_seconds if remaining is None else min(self._timeout_seconds, remaining)
        with self._silence.broken():
            begun = time.monotonic()
            try:
                found = getattr(self._connected(seconds), method)(*args, timeout=seconds, **options)
            except (self._library.MilvusException, self._grpc.RpcError, IndexUnavailable) as error:
                if time.monotonic() - begun >= _NEARLY * self._timeout_seconds:
                    self._silence.unheard(begun)
                elif isinstance(error, self._library.MilvusException):
                    self._silence.heard()
                raise
            self._silence.heard()
            return found

    def _connected(self, seconds: float) -> Any:
        client = self._client
        if client is not None:
            return client
        if not self._connecting.acquire(timeout=seconds):
            raise IndexUnavailable(_SILENT)
        try:
            if self._closed:
                raise IndexUnavailable(_SILENT)
            if self._client is None:
                client = self._library.MilvusClient(
                    **self._options, timeout=seconds, dedicated=True, grpc_options=_CHANNEL
                )
                # pymilvus would reconnect after each failure, with callers waiting one after the other. The channel
                # reconnects by itself.
                client._handler._on_rpc_error = self._give_up
                self._client = client
            return self._client
        finally:
            self._connecting.release()

    def _give_up(self, error: Exception) -> bool:
        """Replaces pymilvus' error handler. False: do not retry."""
        if isinstance(error, self._grpc.RpcError):
            raise error
        return False


_SILENT = (
    "the Milvus that SALIENCE_MILVUS__URI names, which holds this collection's passages, does not answer: "
    "try again in a moment"
)
_MISSING = (
    "the Milvus that SALIENCE_MILVUS__URI and SALIENCE_MILVUS__DATABASE name has nothing of this collection. Where "
    "that is another Milvus, correct them; else it was lost there, and is brought anew: try again in a minute"
)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:_REASON_LENGTH]
