"""Process settings: one frozen tree, read once from `SALIENCE_...` environment variables and, if named, a TOML file.

Levels are joined by two underscores: `SALIENCE_DATA_DIR=/var/lib/salience`, `SALIENCE_SERVER__PORT=9000`. The file
named by `SALIENCE_CONFIG` has the same structure; variables override it. Unknown variables with this prefix and unknown
keys in the file are errors, and all problems are reported at once.

The comment after each field of a setting becomes its description in docs/configuration.md.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from app.model_settings import Device, Group, ModelSettings, Precision
from core.errors import InvalidSettings

PREFIX = "SALIENCE_"
DELIMITER = "__"
CONFIG_VARIABLE = "SALIENCE_CONFIG"
SAFE_TOKEN_LENGTH = 16


class ServerSettings(Group):
    host: str = "127.0.0.1"  # address to listen on
    port: int = Field(8080, ge=0, le=65535)  # 0: any free port
    workers: int = Field(1, ge=1, le=128)  # processes that share the port, each with models of its own
    connections: int = Field(10_000, ge=16)  # open per process; above that, the one idle longest is closed
    head_seconds: float = Field(10.0, ge=0.1)  # time for a connection to send the head of a request
    allow_anonymous: bool = False  # allow listening beyond this machine without authentication
    drain_seconds: float = Field(1.0, ge=0.0)  # from SIGTERM, when /readyz turns 503, until the port closes


class LogSettings(Group):
    level: Literal["debug", "info", "warning", "error"] = "info"  # the lowest level that is written
    format: Literal["auto", "console", "json"] = "auto"  # auto: console in a terminal, JSON elsewhere
    slow_query_ms: int = Field(1000, ge=0)  # searches at least this slow are logged by their shape; 0: none


class LimitSettings(Group):
    body_bytes: int = Field(8 * 2**20, ge=1024)  # size of one request
    bulk_bytes: int = Field(64 * 2**30, ge=1024)  # size of a documents:bulk request, and its characters
    line_characters: int = Field(32_000_000, ge=1)  # length of a line of such a request
    queued_items: int = Field(10_000_000, ge=1)  # documents waiting in jobs; above that, new jobs are refused
    prompt_bytes: int = Field(64 * 2**20, ge=1024)  # size of a request to the embedding APIs, including images
    hits: int = Field(1000, ge=1, le=1000)  # the largest k of a search
    concurrent_requests: int = Field(16, ge=1, le=1000)  # requests that a process serves at once, besides writes
    waiting_requests: int = Field(64, ge=0)  # requests waiting for one of these places; more get a 503
    waiting_seconds: float = Field(10.0, ge=0.1)  # the longest time that one of them waits
    free_bytes: int = Field(256 * 2**20, ge=0)  # free space on the disk of the data; with less: not ready


class JobSettings(Group):
    lease_seconds: float = Field(30.0, ge=0.5)  # time without a sign of life until another worker takes over
    attempts: int = Field(5, ge=1)  # failures in a row after which a job is given up


class AuthSettings(Group):
    tokens: SecretStr = Field(
        SecretStr(""),
        description="bearer tokens, separated by commas; empty: none; keys made by `salience key` are asked for all "
        "the same",
    )
    hmac_keys: SecretStr = SecretStr("")  # AK:SK pairs for signed requests, separated by commas; empty: not required

    @field_validator("tokens")
    @classmethod
    def _ascii(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().isascii():
            raise ValueError("a token may hold ASCII characters only")
        return value

    @field_validator("hmac_keys")
    @classmethod
    def _pairs(cls, value: SecretStr) -> SecretStr:
        pairs = [pair.partition(":") for pair in _split(value)]
        if not all(access and secret for access, _, secret in pairs):
            raise ValueError("every pair must be ACCESS_KEY:SECRET_KEY, pairs separated by commas")
        return value

    @property
    def accepted(self) -> tuple[str, ...]:
        """The bearer tokens."""
        return tuple(_split(self.tokens))

    @property
    def secret_keys(self) -> dict[str, str]:
        """Secret keys by access key."""
        return {access: secret for access, _, secret in (pair.partition(":") for pair in _split(self.hmac_keys))}

    @property
    def weak(self) -> bool:
        """Whether any token is short enough to be guessed."""
        return any(len(token) < SAFE_TOKEN_LENGTH for token in self.accepted)


class MetricsSettings(Group):
    public: bool = False  # answer /metrics without a token even if tokens are required
    collections: int = Field(50, ge=0)  # collections with figures of their own; others count as "other"


class TracingSettings(Group):
    endpoint: str | None = None  # where spans are sent, by OTLP over HTTP: http://localhost:4318/v1/traces
    share: float = Field(1.0, ge=0.0, le=1.0)  # share of traces recorded that begin here; callers decide theirs

    @field_validator("endpoint")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must be an address that begins with http:// or https://")
        return value


class MilvusSettings(Group):
    uri: str | None = None  # address of the Milvus for collections with the index milvus; unset: none
    token: SecretStr = SecretStr("")  # its API key, or user:password
    database: str = Field("default", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,254}$")  # name of the database in that Milvus
    timeout_seconds: float = Field(10.0, ge=0.1, le=600.0)  # time until it counts as unavailable

    @field_validator("uri")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if not value:
            return None  # empty when a compose file passes on an unset variable
        try:
            parts = urlsplit(value)
            whole = bool(parts.scheme in ("http", "https") and parts.hostname and parts.port)
        except ValueError:  # the port is not a number
            whole = False
        more = whole and (parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc)
        if not whole or more or ":" in str(parts.hostname):
            raise ValueError(
                "must be http://HOST:PORT or https://HOST:PORT with a name or an IPv4 address; a token and a database "
                "are settings of their own"
            )
        return value.rstrip("/")


class VikingBinding(Group):
    """The models that serve one model name of the VikingDB API."""

    dense: str | None = None  # None: this name gives no dense vectors
    sparse: str | None = None  # None: only those of the dense model itself, if it makes them


class VikingSettings(Group):
    tokens_per_minute: int = Field(120_000, ge=1)  # tokens a minute for each account and model
    fallback: bool = False  # let the main model serve names that are not bound
    models: dict[str, VikingBinding] = Field(default_factory=dict)  # by name: bge-m3, ...


class Settings(BaseSettings):
    """All settings of the process. Create them with `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=DELIMITER, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    config: Path | None = None  # a TOML file with the same structure
    data_dir: Path = Path("salience-data")  # directory for all data, on a local disk
    allow_network_file_system: bool = False  # allow one for data_dir; SQLite's locks do not hold on most
    model: str = "default"  # model for new collections: a name of `models`, a folder, or "default"
    device: Device = "auto"  # where models run: cpu, cuda, cuda:N; auto: CUDA if there is one
    precision: Precision = "auto"  # how dense models compute; auto: bf16 if the processor has it, else fp32
    models: dict[str, ModelSettings] = {}  # more models, by name
    aliases: dict[str, str] = {}  # other names of models, for clients of the embedding APIs
    server: ServerSettings = ServerSettings()
    log: LogSettings = LogSettings()
    limits: LimitSettings = LimitSettings()
    jobs: JobSettings = JobSettings()
    auth: AuthSettings = AuthSettings()
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()
    vikingdb: VikingSettings = VikingSettings()
    milvus: MilvusSettings = MilvusSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        named = os.environ.get(CONFIG_VARIABLE)
        environment = _Environment(settings_cls)
        if named is None:
            return (init_settings, environment)
        with Path(named).open("rb"):  # pydantic-settings would silently ignore a missing file
            return (init_settings, environment, TomlConfigSettingsSource(settings_cls, toml_file=named))


class _Environment(EnvSettingsSource):
    """Leaves a variable that is not valid JSON to validation, which reports it together with all other problems."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def load_settings(**given: Any) -> Settings:
    """Load the settings from the environment and its file, overridden by those `given` that are not None.

    Raises InvalidSettings, which lists every problem.
    """
    unknown = dict(_unknown_variables(os.environ))
    problems = list(unknown.values())
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        for problem in error.errors():
            variable = _variable(problem["loc"])
            if variable in unknown:  # reported already, with a suggestion
                continue
            if problem["type"] == "dict_type":
                problems.append(f"{variable}: must be a JSON object such as '{{\"name\": ...}}', in the file a table")
            elif problem["type"] != "extra_forbidden":
                problems.append(f"{variable}: {problem['msg'].removeprefix('Value error, ')}")
            else:
                place = ".".join(str(part) for part in problem["loc"])
                problems.append(f"{place}: {_no_such_setting(place, [_dotted(name) for name in variable_names()])}")
    except (OSError, tomllib.TOMLDecodeError) as error:
        problems.append(f"{CONFIG_VARIABLE}: {error}")
    except UnicodeDecodeError as error:
        problems.append(f"{CONFIG_VARIABLE}: TOML is UTF-8, and this file is not: {error}")
    if problems:
        raise InvalidSettings("\n".join(problems))
    return settings


def variable_names() -> list[str]:
    """Return every environment variable that is read, sorted; `*` stands for a name chosen by the user."""
    return sorted(_names(Settings, PREFIX))


def _names(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        variable = f"{prefix}{name.upper()}"
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _names(kind, f"{variable}{DELIMITER}")
            continue
        yield variable
        if get_origin(kind) is dict:
            entry = get_args(kind)[1]
            below = f"{variable}{DELIMITER}*"
            yield from _names(entry, f"{below}{DELIMITER}") if issubclass(entry, BaseModel) else (below,)


def _unknown_variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each unknown variable in upper case, with the message about it."""
    known = variable_names()
    for name in sorted(environment):
        given = name.upper()
        if given.startswith(PREFIX) and not any(fnmatchcase(given, pattern) for pattern in known):
            yield given, f"{name}: {_no_such_setting(given, known)}"


def _no_such_setting(given: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(given, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return f"there is no such setting; {hint}"


def _dotted(variable: str) -> str:
    """Return the name of a variable's setting in the file, such as `server.port`."""
    return variable.removeprefix(PREFIX).lower().replace(DELIMITER, ".")


def _variable(location: tuple[int | str, ...]) -> str:
    return PREFIX + DELIMITER.join(str(part).upper() for part in location)


def _split(values: SecretStr) -> Iterator[str]:
    return (value.strip() for value in values.get_secret_value().split(",") if value.strip())
