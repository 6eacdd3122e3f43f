"""What the log holds of a request that fails unexpectedly: where, and none of the values."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import structlog
from app.logs import configure_logs
from app.settings import LogSettings

def embed(text):
    key = "the secret key"
    return text / 2

configure_logs(LogSettings(format="%s"))
try:
    embed("a text " + "of a user")
except TypeError as error:
    structlog.get_logger("salience.error").error("unexpected failure", exc_info=error)
"""


@pytest.mark.parametrize("format", ["json", "console"])
def test_tracebacks_show_no_values(format: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM % format], capture_output=True, check=True, encoding="utf-8", timeout=60
    )
    assert "unsupported operand" in done.stderr
    assert "embed" in done.stderr
    assert "a text of a user" not in done.stderr
    assert "the secret key" not in done.stderr
    if format == "json":
        assert json.loads(done.stderr)["exception"][0]["frames"][-1]["name"] == "embed"


QUIET = """
import structlog
from app import logs
from app.settings import LogSettings

def made_ready():
    raise AssertionError("this line is not written")

logs.current_job = made_ready
logs.configure_logs(LogSettings(level="warning"))
structlog.get_logger("salience.http").info("request")
"""


def test_a_line_that_is_not_written_is_not_made_ready() -> None:
    subprocess.run([sys.executable, "-c", QUIET], capture_output=True, check=True, timeout=60)


REFUSED = """
import logging
from app.logs import configure_logs
from app.settings import LogSettings

configure_logs(LogSettings(format="%s"))
address = "http://me:the-password@collector:4318/v1/traces?api_key=the-key"
logging.getLogger("opentelemetry.exporter").error("no answer: url: /v1/traces?api_key=the-key (refused)")
try:
    raise OSError(f"{address} does not answer")
except OSError:
    logging.getLogger("opentelemetry.sdk").exception("not sent to %%s", address)
"""


@pytest.mark.parametrize("format", ["json", "console"])
def test_addresses_are_shown_without_what_lets_their_caller_in(format: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REFUSED % format], capture_output=True, check=True, encoding="utf-8", timeout=60
    )
    assert "the-key" not in done.stderr
    assert "the-password" not in done.stderr
    assert "url: /v1/traces?*** (refused)" in done.stderr
    assert "http://***@collector:4318/v1/traces?***" in done.stderr
    if format == "json":
        assert [json.loads(line)["level"] for line in done.stderr.splitlines()] == ["error", "error"]
