"""REQUIRE: whatever is skipped without it fails with it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

CONFTEST: Final = Path(__file__).parents[1] / "conftest.py"
PLUGINS_NOT_NEEDED: Final = ("asyncio", "aiohttp", "hypothesispytest", "cacheprovider")

TESTS: Final = """
import pytest

@pytest.mark.needs("chromium")
def test_missing(): pass

@pytest.mark.skip(reason="not today")
def test_marked(): pass

def test_called(): pytest.skip("not today")

@pytest.mark.xfail
def test_expected_failure(): assert False

@pytest.mark.needs("chromiun")
def test_misspelt(): pass

def test_plain(): pass
"""
SKIPPED_MODULE: Final = """
import pytest
pytest.skip("not today", allow_module_level=True)
"""


def run(folder: Path, test: str, require: str, chromium: str = "/nowhere") -> tuple[int, str]:
    """Run one test file under the project's conftest, where `chromium` is the browser's path."""
    (folder / "test_it.py").write_text(test)
    (folder / "conftest.py").write_text(CONFTEST.read_text().replace("/usr/bin/chromium", chromium))
    plugins = [word for name in PLUGINS_NOT_NEEDED for word in ("-p", f"no:{name}")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-c", os.devnull, "--rootdir", ".", *plugins],
        env={**os.environ, "REQUIRE": require, "COLUMNS": "200"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def outcomes(output: str) -> dict[str, str]:
    """Return the outcome of each test, by name, from pytest's short summary."""
    found = re.findall(r"^([A-Z]+) test_it\.py::test_(\w+)", output, re.MULTILINE)
    return {name: outcome for outcome, name in found}


def test_a_test_whose_need_is_missing_is_skipped(tmp_path: Path) -> None:
    code, output = run(tmp_path, TESTS, require="")
    assert outcomes(output) == {
        "expected_failure": "XFAIL",
        "misspelt": "ERROR",
        "plain": "PASSED",
    }, output
    assert "3 skipped" in output
    assert "needs: unknown: chromiun" in output
    assert code == 1


def test_where_something_is_required_every_skip_fails(tmp_path: Path) -> None:
    code, output = run(tmp_path, TESTS, require="chromium")
    assert outcomes(output) == {
        "missing": "ERROR",
        "marked": "ERROR",
        "called": "FAILED",
        "expected_failure": "XFAIL",
        "misspelt": "ERROR",
        "plain": "PASSED",
    }, output
    assert "needs chromium: but REQUIRE=chromium allows no skip" in output
    assert "not today: but REQUIRE=chromium allows no skip" in output
    assert code == 1


def test_what_is_there_runs(tmp_path: Path) -> None:
    _, output = run(tmp_path, TESTS, require="chromium", chromium=sys.executable)
    assert outcomes(output)["missing"] == "PASSED", output


def test_a_module_that_skips_itself_fails_too(tmp_path: Path) -> None:
    code, output = run(tmp_path, SKIPPED_MODULE, require="chromium")
    assert code == 2, output
    assert "not today: but REQUIRE=chromium allows no skip" in output


def test_an_unknown_name_in_require_stops_the_run(tmp_path: Path) -> None:
    code, output = run(tmp_path, TESTS, require="chromium,chromiun")
    assert code == 4, output
    assert "REQUIRE: unknown: chromiun" in output
