"""Describes a named model: briefly without loading it (`row`), or in full once it is loaded (`facts`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from app.addresses import shown_address
from app.models import Models, NamedModel
from core.errors import ModelError
from embedder.kinds import ModelKind, model_folder
from embedder.modelfolder import ModelFolder, json_object, read_model_folder

if TYPE_CHECKING:
    from core.protocols import Encoder

_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim")  # keys for the width of a token vector, by architecture


def row(models: Models, name: str) -> dict[str, Any]:
    """Return one row of the list of models, from the settings and the folder's configuration files.

    If these cannot be read, `problem` says why, else it is None.
    """
    facts: dict[str, Any] = {"name": name, "main": name == models.main}
    try:
        described = models.describe(name)
        folder = _folder(described)
    except ModelError as error:
        unknown = dict.fromkeys(("kind", "dimension", "max_tokens", "from"))
        return {**facts, **unknown, "aliases": [], "problem": error.detail}
    return {
        **facts,
        "kind": described.kind.value,
        "dimension": described.settings.dimension or (None if folder is None else _dimension(folder)),
        "max_tokens": described.settings.max_tokens or (None if folder is None else folder.max_tokens),
        "from": _place(described),
        "aliases": list(described.aliases),
        "problem": None,
    }


def facts(models: Models, name: str) -> dict[str, Any]:
    """Load the model and return everything that it, its folder and the settings say. Raises ModelError."""
    from embedder.loading import Overrides
    from embedder.projection import sizes

    described = models.describe(name)
    model = models.model(name)
    found: dict[str, Any] = {
        "name": described.name,
        "main": described.name == models.main,
        "kind": described.kind.value,
        "from": _place(described),
        "aliases": list(described.aliases),
        "fingerprint": model.fingerprint,
        "max_tokens": getattr(model, "max_tokens", None),
    }
    if described.kind in (ModelKind.DENSE, ModelKind.HYBRID, ModelKind.VISION):
        encoder = cast("Encoder", model)
        found["dimension"] = encoder.dimension
        found["sizes"] = list(sizes(encoder, fitted=models.fitted_projections))
    folder = _folder(described)
    if folder is not None:
        settings = described.settings
        spoken = Overrides(query_prefix=settings.query_prefix, document_prefix=settings.document_prefix).applied(folder)
        found["pooling"] = settings.pooling or folder.pooling.value
        found |= {f"prompt_{kind.value}": repr(prefix) for kind, prefix in spoken.prefixes.items()}
    precision = getattr(model, "precision", None)
    if precision is not None:
        found["precision"] = str(precision)
    support = getattr(model, "support", None)
    if support is not None:
        found["controls_attention"] = bool(support.attention)
        found["controls_pool"] = bool(support.pool)
        found["controls_why_not"] = support.reason or None
    return found


def _folder(described: NamedModel) -> ModelFolder | None:
    """Read the folder of a dense model; None for a remote model or one of another kind."""
    if described.settings.folder is None or described.kind is not ModelKind.DENSE:
        return None
    return read_model_folder(model_folder(described.settings.folder))


def _dimension(folder: ModelFolder) -> int | None:
    config = json_object(folder.transformer / "config.json")
    width = next((int(config[key]) for key in _WIDTHS if config.get(key)), None)
    return folder.cut or (folder.dense[-1].out_features if folder.dense else width)


def _place(described: NamedModel) -> str:
    settings = described.settings
    if settings.folder is not None:
        return str(settings.folder)
    return f"{settings.api} at {shown_address(str(settings.url))}"
