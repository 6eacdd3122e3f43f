"""`--require-all`: a test that cannot run here, for want of data, of a model or of a program, fails."""

from __future__ import annotations

from collections.abc import Generator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-all", action="store_true", help="a test that would be skipped fails, and says why")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--require-all"):
        assert isinstance(report.longrepr, tuple)
        _, _, reason = report.longrepr
        report.outcome, report.longrepr = "failed", f"--require-all: {reason}"
    return report
