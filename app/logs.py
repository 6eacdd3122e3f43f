"""Structured logs: JSON for machines, readable lines in a terminal. Texts and queries are never logged above debug."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer

from app.addresses import shown_text
from app.settings import LogSettings
from core.context import current_job

# Without the values of variables, which both ways of writing would show: they are texts, queries and keys.
_TRACEBACKS = ExceptionRenderer(ExceptionDictTransformer(show_locals=False))


COMMAND = "salience.command"  # the logger of what a command says of itself


def configure_logs(settings: LogSettings) -> None:
    """Send structlog's events and the standard library's records, in one format, to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,  # the request's id
        _with_job,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if for_people(settings)
        else [_TRACEBACKS, structlog.processors.JSONRenderer(ensure_ascii=True)]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,  # first: what is not written is not made ready
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
    for noisy in (
        "alembic",
        "faiss",
        "uvicorn.access",
        "transformers",
        "filelock",
        "httpx",
        "httpcore",
        "opentelemetry",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger(COMMAND).setLevel(logging.INFO)  # where a server listens is told whatever the level


def for_people(settings: LogSettings) -> bool:
    """Whether lines are for people, and not JSON."""
    return settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Masks addresses in the whole line, as libraries write them into messages and exceptions alike."""

    def format(self, record: logging.LogRecord) -> str:
        return shown_text(super().format(record))


def _with_job(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The number of the job that the line is about."""
    job = current_job()
    if job is not None:
        event.setdefault("job_id", job)
    return event
