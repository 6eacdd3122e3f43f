"""The settings of one named model: a folder on this machine, or a model behind another service's API."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

Device = str  # "auto": CUDA where there is one; "cpu", "cuda", "cuda:N"
Precision = Literal["auto", "fp32", "bf16", "int8"]
Api = Literal["aleph_alpha", "openai", "vikingdb"]
Pooling = Literal["mean", "weightedmean", "max", "cls", "lasttoken"]
Kind = Literal["dense", "sparse", "hybrid", "vision", "reranker", "causal"]
_LOCAL_ONLY = ("kind", "device", "precision", "pooling")
_REMOTE_ONLY = (
    "url", "remote_model", "revision", "token", "access_key", "secret_key", "tokenizer", "max_tokens", "ca_file"
)  # fmt: skip


class Group(BaseModel):
    """A branch of the settings tree."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSettings(Group):
    """Exactly one of `folder` and `api` is given."""

    folder: Path | None = None  # where the model lies; relative to the working directory
    kind: Kind | None = None  # None: what the folder's own files say
    device: Device | None = None  # None: that of the process
    precision: Precision | None = None  # None: that of the process
    pooling: Pooling | None = None  # None: what the folder says; a plain Hugging Face folder says none
    dimension: int | None = Field(None, ge=1)  # of the vectors: by a projection, else cut (Matryoshka)

    api: Api | None = None  # the kind of service that the model is behind, in place of folder
    url: str | None = None  # address of the service, such as https://api.example.com
    remote_model: str | None = None  # the model's name there; None: the same as here
    revision: str | None = None  # a name of your own: change it where the remote changed its model on purpose
    token: SecretStr | None = None  # bearer token
    access_key: SecretStr | None = None  # vikingdb signs by a pair of keys
    secret_key: SecretStr | None = None  # the other half of the pair
    tokenizer: Path | None = None  # tokenizer.json of the remote model; without it tokens are estimated
    max_tokens: int | None = Field(None, ge=8)  # the most that the remote model reads of a text
    query_prefix: str | None = None  # text before every query; None: what the folder says; remote: nothing
    document_prefix: str | None = None  # the same for documents
    requests_per_minute: int | None = Field(None, ge=1)  # the remote's quota
    tokens_per_minute: int | None = Field(None, ge=1)  # likewise
    deadline_seconds: float = Field(60.0, gt=0)  # for all tries of one call together
    timeout_seconds: float = Field(30.0, gt=0)  # to connect, and between two pieces of an answer
    ca_file: Path | None = None  # PEM certificates to trust in place of the public ones, as of an authority of your own

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.folder is None) == (self.api is None):
            raise ValueError("give either folder (a model on this machine) or api (a model behind another service)")
        if self.api is not None and self.url is None:
            raise ValueError("a model behind an api needs its url")
        misplaced = [name for name in (_REMOTE_ONLY if self.api is None else _LOCAL_ONLY) if getattr(self, name)]
        if misplaced:
            place = "behind an api" if self.api is None else "in a folder"
            raise ValueError(f"{', '.join(misplaced)}: only for a model {place}")
        if self.api == "vikingdb" and not (self.access_key and self.secret_key):
            raise ValueError("a vikingdb model needs access_key and secret_key")
        return self
