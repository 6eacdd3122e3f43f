"""Process settings: one frozen tree, read once from `SALIENCE_...` environment variables.

Levels are joined by two underscores: `SALIENCE_DATA_DIR=/var/lib/salience`, `SALIENCE_SERVER__PORT=9000`. What nobody
asks for is a mistake: an unknown variable of this prefix is refused, and all problems are reported at once.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import InvalidSettings

PREFIX = "SALIENCE_"
DELIMITER = "__"
MIN_TOKEN_LENGTH = 16


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(_Group):
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)  # 0: any free port


class LogSettings(_Group):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"  # auto: console in a terminal, JSON elsewhere


class LimitSettings(_Group):
    body_bytes: int = Field(8 * 2**20, ge=1024)  # of one request
    bulk_bytes: int = Field(1024 * 2**20, ge=1024)  # of one documents:bulk request
    hits: int = Field(1000, ge=1, le=1000)  # k of one search, at most


class AuthSettings(_Group):
    tokens: SecretStr = SecretStr("")  # bearer tokens for /v1, separated by commas; empty: no authentication

    @field_validator("tokens")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if any(len(token) < MIN_TOKEN_LENGTH or not token.isascii() for token in _split(value)):
            raise ValueError(f"every token must have at least {MIN_TOKEN_LENGTH} ASCII characters")
        return value

    @property
    def accepted(self) -> tuple[str, ...]:
        return tuple(_split(self.tokens))


class Settings(BaseSettings):
    """What the process is told from outside. Build it by `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=DELIMITER, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    data_dir: Path = Path("salience-data")
    model: str = "default"  # path of a model folder, or "default"
    device: str = "auto"  # "auto": CUDA where there is one; "cpu", "cuda", "cuda:N"
    server: ServerSettings = ServerSettings()
    log: LogSettings = LogSettings()
    limits: LimitSettings = LimitSettings()
    auth: AuthSettings = AuthSettings()


def load_settings(**given: Any) -> Settings:
    """The settings out of the environment, overridden by those `given` that are not None.

    Raises InvalidSettings that lists every problem.
    """
    problems = list(_unknown_variables(os.environ))
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        problems += [
            f"{_variable(problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()
            if problem["type"] != "extra_forbidden"  # named above, with a suggestion
        ]
    if problems:
        raise InvalidSettings("\n".join(problems))
    return settings


def variable_names() -> list[str]:
    """Every environment variable that is read, sorted."""
    return sorted(_names(Settings, PREFIX))


def _names(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _names(kind, f"{prefix}{name.upper()}{DELIMITER}")
        else:
            yield f"{prefix}{name.upper()}"


def _unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    known = variable_names()
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            yield f"{name}: there is no such setting; {hint}"


def _variable(location: tuple[int | str, ...]) -> str:
    return PREFIX + DELIMITER.join(str(part).upper() for part in location)


def _split(tokens: SecretStr) -> Iterator[str]:
    return (token.strip() for token in tokens.get_secret_value().split(",") if token.strip())
