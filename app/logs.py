"""Configures structured logging: JSON for machines, readable lines in a terminal.

Texts and queries are never logged above the level debug.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer

from app.addresses import shown_text
from app.settings import LogSettings
from core.context import current_job

# Without local variables, whose values are texts, queries and keys. The console renderer below omits them, too.
_TRACEBACKS = ExceptionRenderer(ExceptionDictTransformer(show_locals=False))


COMMAND = "salience.command"  # logger for a command's messages about itself, such as where a server listens


def configure_logs(settings: LogSettings) -> None:
    """Log structlog's events and the standard library's records to standard error, in one format."""
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
            structlog.stdlib.filter_by_level,  # first: skip all work for lines that are not written
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
    logging.getLogger(COMMAND).setLevel(logging.INFO)  # where a server listens is logged at every level


def for_people(settings: LogSettings) -> bool:
    """Whether lines are formatted for people rather than as JSON."""
    return settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Redacts URLs in the whole line, since libraries put them into both messages and exceptions."""

    def format(self, record: logging.LogRecord) -> str:
        return shown_text(super().format(record))


def _with_job(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Add the id of the current job to the event, if there is one."""
    job = current_job()
    if job is not None:
        event.setdefault("job_id", job)
    return event
