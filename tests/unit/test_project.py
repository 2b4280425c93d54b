"""The project's own files: the locks, and what a built wheel carries."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PIN: Final = re.compile(
    r"^([a-z0-9-]+)==(\S+)(?: ;.*)? \\\n((?:    --hash=sha256:\S+(?: \\)?\n)+)", re.M
)


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def lock(name: str) -> dict[str, str]:
    """Return the version of each package in a lock; each line is a pin, a hash or a comment."""
    text = (ROOT / "build" / name).read_text(encoding="utf-8")
    rest = re.sub(r"^ *#.*\n", "", PIN.sub("", text), flags=re.M)
    assert rest == "", "a line that is neither a hashed pin nor a comment"
    return {match[1]: match[2] for match in PIN.finditer(text)}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~\[; ]", line)[0].lower() for line in requirements}


def test_locks_hold_what_is_declared() -> None:
    declared = project()
    groups = declared["dependency-groups"]
    runtime, dev = lock("requirements.txt"), lock("requirements-dev.txt")
    assert names(declared["project"]["dependencies"]) <= runtime.keys()
    assert names(groups["build"]) <= lock("requirements-build.txt").keys()
    assert names(groups["build"] + groups["dev"]) <= dev.keys()
    assert names(groups["dev"]).isdisjoint(runtime)


def test_locks_agree() -> None:
    dev = lock("requirements-dev.txt").items()
    assert lock("requirements.txt").items() <= dev
    assert lock("requirements-build.txt").items() <= dev


def test_wheel_carries_all_files_of_the_package(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    files = {path.relative_to(ROOT) for path in (ROOT / "edge").rglob("*") if path.is_file()}
    ours = {str(path) for path in files if "__pycache__" not in path.parts}
    assert {name for name in packed if name.startswith("edge/")} == ours
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in packed)
