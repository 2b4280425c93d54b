"""What every test shares: Hypothesis's profiles, and what a test may need from the machine.

A test marked `@pytest.mark.needs("chromium")` is skipped where that is missing, so that the rest
runs anywhere. With REQUIRE set (a comma-separated list of such names) nothing may be skipped, for
whatever reason: a skip is a failure. CI sets it, so that no test stops running unnoticed.
"""

import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

CHROMIUM: Final = Path("/usr/bin/chromium")
GO_SUMDB: Final = Path("/usr/share/gocode/src/golang.org/x/mod/sumdb")  # golang-golang-x-mod-dev

CAPABILITIES: Final[dict[str, Callable[[], bool]]] = {
    "chromium": CHROMIUM.exists,
    "curl": lambda: shutil.which("curl") is not None,
    "go": lambda: shutil.which("go") is not None and GO_SUMDB.is_dir(),
    "systemd-analyze": lambda: shutil.which("systemd-analyze") is not None,
}
REQUIRED: Final = pytest.StashKey[frozenset[str]]()

settings.register_profile("dev", deadline=None, print_blob=True)
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    max_examples=100,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*names): what the test needs from the machine")
    names = os.environ.get("REQUIRE", "").split(",")
    required = frozenset(name.strip() for name in names) - {""}
    if unknown := required - CAPABILITIES.keys():
        raise pytest.UsageError(f"REQUIRE: unknown: {', '.join(sorted(unknown))}")
    config.stash[REQUIRED] = required


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in (name for marker in item.iter_markers("needs") for name in marker.args):
        if name not in CAPABILITIES:
            pytest.fail(f"needs: unknown: {name}", pytrace=False)
        if not CAPABILITIES[name]():
            pytest.skip(f"needs {name}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report, collector.config)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    """Turn a skip into a failure where REQUIRE is set. (An expected failure is no skip.)"""
    required = config.stash[REQUIRED]
    if not (required and report.skipped) or hasattr(report, "wasxfail"):
        return
    longrepr: Any = report.longrepr
    reason = longrepr[2] if isinstance(longrepr, tuple) else longrepr
    report.outcome = "failed"
    report.longrepr = f"{reason}: but REQUIRE={','.join(sorted(required))} allows no skip"
