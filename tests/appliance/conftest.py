"""The one file, made once for all tests that run it."""

import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
BUILD_S_MAX: Final = 300


def build(project: Path, into: Path, **environment: str) -> Path:
    """Run a project folder's build/pyz, with nothing in its environment but PATH and these."""
    done = subprocess.run(
        ["bash", project / "build/pyz", into],
        env={"PATH": "/usr/bin:/bin", "HOME": str(into)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_S_MAX,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("dist"))
