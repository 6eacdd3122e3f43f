"""Operations on reindexes for the API and the command line: begin, look, switch, roll back, cancel, clean up."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any

from app.periodic import periodically
from app.schemas.reindexes import ReindexRequest
from app.wiring import Wiring
from core.errors import CollectionNotFound, ModelNotFound, SalienceError, StorageError
from core.records import Collection, SparseScoring
from core.reindexes import Reindex, ReindexState
from indexer.reindexstart import ReindexPlan, begin_reindex
from store.catalog import find_collection, get_collection, list_collections
from store.database import ReadSession
from store.reindex.pending import pending_count
from store.reindex.record import ENDED, hidden_collection, newest, newest_of_each, unfinished
from store.visibility import Patterns

LOOK_SECONDS = 0.5  # between two checks for new reindexes
IDLE_SECONDS = 60.0  # without use before a model is unloaded
_STOP_SECONDS = 1.0  # to wait at shutdown for a model that is being loaded: the event loop is blocked meanwhile
_CANCELLABLE = (ReindexState.BUILDING, ReindexState.VALIDATING, ReindexState.READY, ReindexState.FAILED)
_log = logging.getLogger(__name__)


def begin(parts: Wiring, name: str, asked: ReindexRequest) -> Reindex:
    """Begin a reindex. Raises as begin_reindex, and ModelNotFound, ModelError or InvalidInput for the models."""
    from embedder.lexical import check_language

    given = asked.settings.given()
    if "language" in given:
        check_language(given["language"])
    with parts.database.read() as session:
        collection = get_collection(session, name)
    parts.check_index(given.get("index", collection.settings.index))
    active, scoring = collection.active, given.get("sparse", collection.settings.sparse)
    if asked.sparse_model is not None and "sparse" not in given and scoring is SparseScoring.BM25:
        scoring = given["sparse"] = SparseScoring.LEARNED
    sparse_model = asked.sparse_model or (None if scoring is SparseScoring.BM25 else active.sparse_model)
    try:
        encoder = parts.models.encoder_of(collection) if asked.model is None else parts.models.encoder(asked.model)
        begun = begin_reindex(
            parts.database,
            collection.name,
            ReindexPlan(
                settings=given,
                encoder=encoder,
                sparse_model=None if sparse_model is None else parts.models.resolve(sparse_model),
                sparse=None if sparse_model is None else parts.models.sparse_encoder(sparse_model),
                share=asked.share,
                auto_switch=asked.auto_switch,
                grace_seconds=asked.grace_seconds,
                min_recall=asked.min_recall,
                judgements=None if asked.judgements is None else json.dumps(asked.judgements.model_dump()),
                min_gain=asked.min_gain,
            ),
        )
    finally:  # even if refused: and it may be over before the watching thread sees it
        parts.preloader.note(asked.model, sparse_model)
    parts.reindexing.wake()
    return begun


def look(session: ReadSession, name: str) -> tuple[Reindex, int]:
    """Return the newest reindex of a collection, and how many documents written meanwhile it has yet to copy.

    The collection may have been deleted. Raises ReindexNotFound.
    """
    found = _found(session, name)
    return found, pending_count(session, found)


def look_at_all(session: ReadSession, *, among: Patterns | None = None) -> list[tuple[Reindex, int]]:
    """As `look`, for every existing collection that was reindexed and matches `among` (None: all)."""
    return [(found, pending_count(session, found)) for found in newest_of_each(session, among=among)]


def switch(parts: Wiring, name: str) -> Reindex:
    """Switch to the new generation. Raises ReindexNotFound, ReindexConflict, and any error of its catching up."""
    return parts.reindexing.switch(_newest(parts, name))


def rollback(parts: Wiring, name: str) -> Reindex:
    """Switch back to the old generation. Raises as `switch`."""
    return parts.reindexing.rollback(_newest(parts, name))


def cancel(parts: Wiring, name: str) -> Reindex:
    """Cancel the newest reindex. Raises ReindexNotFound, and ReindexConflict if it is over or switched."""
    return parts.reindexing.end(_newest(parts, name), _CANCELLABLE, ReindexState.CANCELLED)


def clean_up(parts: Wiring, name: str) -> Reindex:
    """Delete the old generation early. Raises ReindexNotFound, and ReindexConflict unless the reindex is switched."""
    return parts.reindexing.end(_newest(parts, name), (ReindexState.SWITCHED,), ReindexState.DONE)


def judged(parts: Wiring, old: str, new: str, judgements: Mapping[str, Any]) -> dict[str, Any]:
    """Search both generations with every judged query, as a user would, and compare them.

    Returns the measures of each generation ("old", "new"), the mean gain in nDCG@10, its p-value and the number of
    queries.
    """
    import numpy as np

    from app.evaluation import DEPTH, measure, ndcg_by_query
    from app.significance import randomisation
    from retriever.query import Query

    qrels, figures, per_query = judgements["qrels"], {}, {}
    for side, name in (("old", old), ("new", new)):
        run = {}
        for id_ in qrels:
            found = parts.searcher.search(name, Query(text=judgements["queries"][id_], k=DEPTH))
            run[id_] = [(hit.document_id, hit.score) for hit in found.hits]
        figures[side], per_query[side] = measure(run, qrels), np.array(ndcg_by_query(run, qrels))
    gains = per_query["new"] - per_query["old"]
    return {**figures, "gain": float(gains.mean()), "p": randomisation(gains), "queries": len(qrels)}


class ModelPreloader:
    """Loads the models of reindexes before a search needs them: of both generations, since either may serve soon.

    Afterwards it unloads models that no collection uses, once they are idle. A model that cannot be loaded is left to
    the search or job that needs it, which reports the reason. Remote models are left to them, too: they load at once,
    or take long to fail. For one thread, except `note`.
    """

    def __init__(self, parts: Wiring) -> None:
        self._parts = parts
        self._tried: set[tuple[int, str]] = set()  # (reindex id, model name)
        self._noted: SimpleQueue[str] = SimpleQueue()
        self._needed: set[str] = set()  # models that reindexes needed, until they are unloaded
        self._said: str | None = None  # the logged error of the last check

    def note(self, *names: str | None) -> None:
        """Note the names of models that were requested for a reindex. May be called from any thread."""
        for name in names:
            if name is not None:
                self._noted.put(name)

    def load(self) -> None:
        """Load the models of unfinished reindexes, trying each once, and unload those no longer needed.

        Raises StorageError.
        """
        models, wanted, kept = self._parts.models, set[tuple[int, str]](), set[str]()
        with self._parts.database.read() as session:
            for found in unfinished(session):
                for collection in _generations(session, found):
                    of_it = _models_of(collection)
                    kept |= of_it  # also of failed reindexes, whose result can still be examined
                    if found.state not in ENDED or collection.id != found.hidden_id:
                        wanted |= {(found.id, model) for model in of_it}
        new, self._tried = sorted(wanted - self._tried), wanted
        for _, name in new:
            try:
                if models.describe(name).settings.folder is not None:
                    models.model(name)
            except SalienceError as error:
                _log.info("the model %s of a reindex is not loaded ahead: %s", name, error.detail)
            except Exception:  # noqa: BLE001 - as above: it must stop neither the server nor the other models
                _log.exception("the model %s of a reindex could not be loaded ahead", name)
        self._let_go(kept)

    def _let_go(self, kept: AbstractSet[str]) -> None:
        """Unload models that reindexes needed and that no collection uses. `kept`: models of unfinished reindexes."""
        while not self._noted.empty():
            self._needed |= self._resolved([self._noted.get()])
        kept = self._resolved(kept)
        over = self._needed - kept
        self._needed |= kept
        if not over:  # nearly always
            return
        with self._parts.database.read() as session:
            serving = self._resolved(model for found in list_collections(session) for model in _models_of(found))
        self._needed -= serving  # from now on like any other model
        for name in over - serving:
            if self._parts.models.let_go(name, idle_seconds=IDLE_SECONDS):
                self._needed.discard(name)

    def _resolved(self, names: Iterable[str]) -> set[str]:
        """Return the names in the settings that these names stand for; unknown ones are left out."""
        found = set()
        for name in names:
            with suppress(ModelNotFound):
                found.add(self._parts.models.resolve(name))
        return found

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While the block runs, a thread checks for new reindexes, whichever process began them."""
        with periodically(self._look, seconds=LOOK_SECONDS, name="preloader", stop_seconds=_STOP_SECONDS):
            yield

    def _look(self) -> None:
        """Call `load`, and log an error only if it differs from the last check's."""
        try:
            self.load()
            self._said = None
        except StorageError as error:
            if error.message != self._said:
                _log.info("the models of reindexes are not looked for: %s", error.message)
            self._said = error.message
        except Exception as error:  # noqa: BLE001 - the search that needs the model reports it, too
            if repr(error) != self._said:
                _log.exception("the models of reindexes cannot be looked for")
            self._said = repr(error)


def _generations(session: ReadSession, reindex: Reindex) -> Iterator[Collection]:
    """Yield both generations, as far as they exist; first the one that serves."""
    with suppress(CollectionNotFound):
        yield find_collection(session, reindex.collection)
    with suppress(CollectionNotFound):
        yield hidden_collection(session, reindex)


def _models_of(collection: Collection) -> set[str]:
    return {model for model in (collection.active.model, collection.active.sparse_model) if model}


def _newest(parts: Wiring, name: str) -> Reindex:
    with parts.database.read() as session:
        return _found(session, name)


def _found(session: ReadSession, name: str) -> Reindex:
    with suppress(CollectionNotFound):  # the reindex of a deleted collection can still be queried
        name = get_collection(session, name).name  # it may be an alias
    return newest(session, name)
