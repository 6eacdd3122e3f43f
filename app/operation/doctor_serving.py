"""The doctor's checks of what a server needs: the port, the models, the tracing libraries, Milvus."""

from __future__ import annotations

import errno
import importlib.util
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from app.milvus import milvus
from app.models import Models
from app.operation.doctor import Check, Diagnosis, Level
from app.operation.process import bound
from app.settings import Settings
from core.errors import IndexUnavailable, ModelError, ModelMismatch, RemoteError, SalienceError
from core.prompts import Prompt
from core.records import Collection, IndexKind, Representation
from store import Database
from store.catalog import list_collections
from store.directory import DATABASE_NAME
from store.migrate import SCHEMA_VERSION
from store.processes import processes
from store.readonly import open_read_only, schema_version

_REASON_LENGTH = 200  # characters shown of Milvus' error
_LACKING = "put the folder back, or correct the settings (models.NAME.folder); without it, reindex its collections"
_AWAY = "start the service, or correct the settings (models.NAME.url, .token); salience models check says more"
_PROBE = "how do I play on my television"


def port(settings: Settings) -> Iterator[Diagnosis]:
    """Check that the server's address can be bound, or is in use by a server of this data directory."""
    host, number = settings.server.host, settings.server.port
    try:
        bound(host, number).close()
    except OSError as error:
        ours = [one for one in _serving(settings) if one.endswith(f":{number}")]
        if ours:
            yield Diagnosis(name="port", level=Level.OK, text=f"{number}: a server of this data directory is there")
            return
        text = f"{host} port {number} cannot be listened at: {error.strerror or error}"
        if error.errno == errno.EADDRINUSE:
            level, advice = Level.WARN, "choose another one: salience serve --port, SALIENCE_SERVER__PORT"
        elif error.errno == errno.EACCES:
            level, advice = Level.FAIL, "choose one of 1024 or more: salience serve --port, SALIENCE_SERVER__PORT"
        else:
            level, advice = Level.FAIL, "name an address of this machine: salience serve --host, SALIENCE_SERVER__HOST"
        yield Diagnosis(name="port", level=level, text=text, advice=advice)
        return
    yield Diagnosis(name="port", level=Level.OK, text=f"{host} port {number} is free")


def tracing(settings: Settings) -> Iterator[Diagnosis]:
    """Check that the tracing libraries are installed if an endpoint is configured."""
    if settings.tracing.endpoint is None:
        return
    there = importlib.util.find_spec("opentelemetry") and importlib.util.find_spec("opentelemetry.sdk")
    yield Diagnosis(
        name="tracing",
        level=Level.OK if there else Level.FAIL,
        text="spans are sent" if there else "an endpoint is set, and the libraries are not installed",
        advice="" if there else "in a checkout of Salience: pip install '.[tracing]'",
    )


def index(settings: Settings) -> Iterator[Diagnosis]:
    """Check that Milvus answers if the settings name one, and that they do if any collection needs it."""
    finding = partial(Diagnosis, name="index")
    if settings.milvus.uri is None:
        waiting = sum(one.settings.index is IndexKind.MILVUS for one in _collections(settings))
        if waiting:
            text = f"{waiting} collection(s) have the index milvus, and no Milvus is named: they cannot be searched"
            yield finding(level=Level.FAIL, text=text, advice="set SALIENCE_MILVUS__URI")
        return
    if importlib.util.find_spec("pymilvus") is None:
        text = "a Milvus is named, and the library for it is not installed"
        yield finding(level=Level.FAIL, text=text, advice="in a checkout of Salience: pip install '.[milvus]'")
        return
    found = milvus(settings.milvus)
    assert found is not None
    try:
        yield finding(level=Level.OK, text=f"{found.check()} answers")
    except IndexUnavailable as error:
        reason = " ".join(str(error.__cause__).split())[:_REASON_LENGTH]
        text = f"Milvus does not answer at {settings.milvus.uri}: {reason}"
        advice = "start it, or correct SALIENCE_MILVUS__URI, SALIENCE_MILVUS__TOKEN or SALIENCE_MILVUS__DATABASE"
        yield finding(level=Level.FAIL, text=text, advice=advice)
    finally:
        found.close()


def model(called: Callable[[str], str] = str) -> Check:
    """Return the check of the main model and of the models of collections. `called`: the name to show of a collection.

    It loads each of these models.
    """

    def look(settings: Settings) -> Iterator[Diagnosis]:
        models = Models(settings)
        away: dict[str, str] = {}  # why remote models did not answer, by name: each is asked only once
        try:
            yield _main(models)
            for collection in _collections(settings):
                yield from _serving_model(models, collection, called(collection.name), away)
        except RemoteError as error:
            yield Diagnosis(name="model", level=Level.FAIL, text=error.message, advice=_AWAY)
        except SalienceError as error:
            advice = "salience models check says more; a damaged folder has to be copied anew"
            yield Diagnosis(name="model", level=Level.FAIL, text=error.detail, advice=advice)
        finally:
            models.close()

    look.__name__ = "model"
    return look


def named_models(settings: Settings) -> Iterator[Diagnosis]:
    """Report models of the settings whose folders hold no model. Reads their configuration files, no weights."""
    models = Models(settings)
    for name in settings.models:
        try:
            models.describe(name)
        except ModelError as error:
            text = f"{name}: {error.detail}"
            yield Diagnosis(name="model", level=Level.FAIL, text=text, advice=_LACKING)


def _main(models: Models) -> Diagnosis:
    """Load the main model and check its vector of a test text. Raises ModelError if it cannot be loaded."""
    encoder = models.encoder()
    first, again = (encoder.encode([Prompt.of(_PROBE)], Representation.QUERY).vectors[0] for _ in range(2))
    length = float(np.linalg.norm(first))
    sound = bool(np.isfinite(first).all()) and abs(length - 1) < 1e-3 and float(first @ again) > 0.9999
    return Diagnosis(
        name="model",
        level=Level.OK if sound else Level.FAIL,
        text=f"{encoder.name}, {encoder.dimension} dimensions, fingerprint {encoder.fingerprint}"
        + ("" if sound else "; its vector of a test text is not of unit length, or not the same twice"),
        advice="" if sound else "the folder or this machine is damaged: salience models check",
    )


def _serving_model(models: Models, collection: Collection, name: str, away: dict[str, str]) -> Iterator[Diagnosis]:
    """Report what is wrong with the model that the collection, shown as `name`, was embedded with."""
    embedded_by = collection.active.model
    try:
        if embedded_by not in away:
            models.encoder_of(collection)
    except RemoteError as error:
        away[embedded_by] = error.message
    except ModelMismatch:
        text = f"collection {name} was embedded by another model, or by other files of this one"
        advice = "name its model in the settings, or reindex it: salience reindex"
        yield Diagnosis(name="model", level=Level.WARN, text=text, advice=advice)
    except ModelError as error:
        text = f"collection {name} cannot be searched: {error.detail}"
        yield Diagnosis(name="model", level=Level.FAIL, text=text, advice=_LACKING)
    if embedded_by in away:
        text = f"collection {name} cannot be searched: {away[embedded_by]}"
        yield Diagnosis(name="model", level=Level.FAIL, text=text, advice=_AWAY)


def _collections(settings: Settings) -> list[Collection]:
    directory = settings.data_dir
    if not (directory / DATABASE_NAME).exists():
        return []
    with open_read_only(directory) as connection:
        if schema_version(connection) != SCHEMA_VERSION:
            return []
    database = Database.open(directory, allow_network=settings.allow_network_file_system)
    try:
        with database.read() as session:
            return list_collections(session)
    finally:
        database.close()


def _serving(settings: Settings) -> list[str]:
    if not settings.data_dir.is_dir():
        return []
    return [one.address for one in processes(settings.data_dir) if one.address is not None]
