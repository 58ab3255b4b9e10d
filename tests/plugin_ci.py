"""How a run of the tests ends: every skip by name and reason, and one last line with the three numbers.

With CI=true a skip is a failure: there, whatever a test needs can be installed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

SKIPPED, PASSED = "skipped", "passed"
FAILED = ("failed", "error")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Before the terminal reporter looks at the exit status, so that its colour tells the truth too."""
    if _is_worker(session.config):
        return
    if os.environ.get("CI") == "true" and _reports(session.config, SKIPPED) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = sorted({_line(report) for report in _reports(config, SKIPPED)})
    if not skipped:
        return
    is_failure = os.environ.get("CI") == "true"
    terminalreporter.section("skipped, which counts as failed with CI=true" if is_failure else "skipped")
    for line in skipped:
        terminalreporter.line(line)


@pytest.hookimpl(wrapper=True)
def pytest_unconfigure(config: pytest.Config) -> Iterator[None]:
    """After everybody else has had their say."""
    yield
    if _is_worker(config) or config.option.collectonly or _reporter(config) is None:
        return
    failed = sum(len(_reports(config, kind)) for kind in FAILED)
    print(f"{len(_reports(config, PASSED))} passed, {failed} failed, {len(_reports(config, SKIPPED))} skipped")


def _reporter(config: pytest.Config) -> pytest.TerminalReporter | None:
    return config.pluginmanager.get_plugin("terminalreporter")


def _reports(config: pytest.Config, kind: str) -> list[pytest.TestReport | pytest.CollectReport]:
    reporter = _reporter(config)
    return list(reporter.stats.get(kind, ())) if reporter else []


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _line(report: pytest.TestReport | pytest.CollectReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return f"{report.nodeid}: {reason.removeprefix('Skipped: ')}"
