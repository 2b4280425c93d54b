"""The one file: what is in it, that it is always the same, and that it is a whole box by itself."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.appliance.conftest import ROOT, build
from tests.appliance.manager import Manager
from tests.integration.boxes import Done
from tests.unit.test_architecture import project_files

MISSOURI, CALIFORNIA = "ose-missouri-001", "ose-california-001"
PYTHON: Final = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
BYTES_MAX: Final = 20_000_000
COMMAND_S_MAX: Final = 60
TRIES: Final = 100
LOOK: Final = (
    "import json, sys;"
    "print(json.dumps([getattr(m, '__file__', None) or '' for m in sys.modules.values()]))"
)


class Machine:
    """A computer with Python, the one file, and nothing else: no project, no home, no variable."""

    def __init__(self, home: Path, pyz: Path, cache: Path) -> None:
        self.home = home
        self.file = shutil.copy(pyz, home / "village-edge.pyz")
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
        self.environment["SHIV_ROOT"] = str(cache)

    def run(self, *arguments: str, **environment: str) -> Done:
        done = subprocess.run(
            [PYTHON, "-I", self.file, *arguments],
            cwd=self.home,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_S_MAX,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def does(self, *arguments: str) -> str:
        """Run a command that must be done; return what it prints."""
        done = self.run(*arguments)
        assert (done.code, done.err) == (0, ""), done
        return done.out

    def answer(self, *arguments: str) -> Any:
        return json.loads(self.does(*arguments, "--json"))

    def until(self, arguments: list[str], holds: Callable[[Any], bool]) -> Any:
        """Repeat a command that looks, until its answer is as wanted."""
        for _ in range(TRIES):
            if holds(answer := self.answer(*arguments)):
                return answer
        raise AssertionError(f"{arguments}: {answer}")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("unpacked")


@pytest.fixture
def machine(tmp_path: Path, pyz: Path, cache: Path) -> Machine:
    (tmp_path / "empty").mkdir()
    return Machine(tmp_path / "empty", pyz, cache)


# What it is


def test_all_of_the_package_and_all_of_the_lock_are_inside(pyz: Path) -> None:
    with zipfile.ZipFile(pyz) as archive:
        inside = {name.removeprefix("site-packages/") for name in archive.namelist()}
    edge = {path for path in (ROOT / "edge").rglob("*") if path.is_file()}
    ours = {str(path.relative_to(ROOT)) for path in edge if "__pycache__" not in path.parts}
    assert {name for name in inside if name.startswith("edge/")} == ours
    assert {Path(name).suffix for name in ours} >= {".py", ".sql", ".html", ".css"}
    lock = (ROOT / "build/requirements.txt").read_text()
    pinned = {line.split()[0].replace("-", "_") for line in lock.splitlines() if "==" in line}
    folders = {name.partition("/")[0].lower() for name in inside}
    missing = {each for each in pinned if f"{each.replace('==', '-')}.dist-info" not in folders}
    assert missing == set()


def test_nothing_of_where_it_was_made_is_inside(pyz: Path) -> None:
    assert pyz.stat().st_size < BYTES_MAX
    with zipfile.ZipFile(pyz) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".pyc")]
        assert {member.date_time[0] for member in archive.infolist()} == {1980}
        ours = [name for name in archive.namelist() if "edge" in name or "RECORD" in name]
        assert not [name for name in ours if str(ROOT).encode() in archive.read(name)]


def test_two_builds_are_the_same_file(tmp_path: Path, pyz: Path) -> None:
    """The other one from a copy of the project, with another time, place, language and umask."""
    copy, temporary = tmp_path / "copy", tmp_path / "tmp"
    temporary.mkdir()
    for path in project_files():
        (copy / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy / path.relative_to(ROOT))
    (copy / ".venv").symlink_to(ROOT / ".venv")
    odd = {"TZ": "Asia/Kolkata", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "1700000000"}
    before = os.umask(0o077)
    try:
        again = build(copy, tmp_path / "dist", TMPDIR=str(temporary), PYTHONHASHSEED="7", **odd)
    finally:
        os.umask(before)
    assert again.name == pyz.name and again.stat().st_mode & 0o777 == 0o755
    first, second = (hashlib.sha256(each.read_bytes()).hexdigest() for each in (pyz, again))
    assert first == second
    assert list(temporary.iterdir()) == []


# How it runs


def test_it_runs_by_itself_from_an_empty_folder(tmp_path: Path, machine: Machine) -> None:
    """All code is its own or Python's, and all that it writes is in the one folder it may use."""
    machine.environment["SHIV_ROOT"] = str(tmp_path / "fresh")
    assert machine.does("--version").startswith("village-edge ")
    assert [path.name for path in machine.home.iterdir()] == ["village-edge.pyz"]
    assert not Path("/nonexistent").exists()
    bare = subprocess.run([PYTHON, "-I", "-c", LOOK], capture_output=True, text=True, check=True)
    packed = machine.run("-c", f"import edge.cli, edge.demo; {LOOK}", SHIV_INTERPRETER="1")
    ours = set(json.loads(packed.out)) - set(json.loads(bare.stdout))  # what .pth files bring in
    assert f"{tmp_path}/fresh/village-edge.pyz_" in packed.out
    elsewhere = {name for name in ours if not name.startswith(str(tmp_path / "fresh"))}
    assert [name for name in elsewhere if "-packages/" in name] == []


def test_the_wrong_python_gets_one_line_and_leaves_nothing(
    tmp_path: Path, machine: Machine
) -> None:
    machine.environment["SHIV_ROOT"] = str(tmp_path / "fresh")
    pretend = "import importlib.machinery, runpy, sys; del sys.argv[0]"
    pretend += "; importlib.machinery.EXTENSION_SUFFIXES[0] = sys.argv.pop()"
    pretend += "; runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run(
        [PYTHON, "-c", pretend, machine.file, ".cpython-39-riscv64-linux-gnu.so"],
        env=machine.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    ours = f"CPython 3.{sys.version_info.minor} on "
    assert ours in done.stderr
    assert "this is CPython 3.9 on riscv64-linux-gnu: take the one made for it" in done.stderr
    assert [path.name for path in (tmp_path / "fresh").iterdir() if path.is_dir()] == []


def test_two_boxes_from_one_file_trade_by_commands(tmp_path: Path, pyz: Path, cache: Path) -> None:
    with ExitStack() as stack:
        missouri, california = (
            stack.enter_context(a_box(tmp_path / village, village, pyz, cache))
            for village in (MISSOURI, CALIFORNIA)
        )
        missouri.does("member", "add", "Alice", "--pin", "1234")
        missouri.does("issue", "Alice", "500")
        california.does("member", "add", "Bob", "--pin", "5678")
        california.does("declare", "Bob", "Solar Panel", "3")
        invitation = missouri.answer("peer", "invite")["invitation"]
        california.does("peer", "add", invitation)
        missouri.until(["peer", "list"], lambda a: a["neighbours"][0]["records_held"] >= 3)
        terms = ["--offer", "100", "AT", "--request", "1", "Solar Panel"]
        trade = missouri.answer("trade", "propose", "Alice", f"Bob@{CALIFORNIA}", *terms)["id"]
        california.until(["trade", "list"], lambda found: any(t["id"] == trade for t in found))
        california.does("trade", "accept", trade)
        for each in (missouri, california):
            each.until(["trade", "list"], lambda found: found[0]["status"] == "SETTLED")
            assert each.answer("status")["serving"] is True
            assert each.answer("audit")["agrees"] is True


@contextmanager
def a_box(home: Path, village: str, pyz: Path, cache: Path) -> Iterator[Machine]:
    """Make a village on a machine of its own, and run its box as a service until the end."""
    home.mkdir()
    machine, manager = Machine(home, pyz, cache), Manager(home.parent / f"{village}.notify")
    name = ("--id", village, "--name", f"Village {village}")
    machine.does("init", *name, "--lat", "38.45", "--lon", "-93.85")
    settings = {"listen.federation": "127.0.0.1:0", "listen.page": "", "listen.page_tls": ""}
    settings |= {"federation.heartbeat_s": "1"}
    flags = [f"--set={key}={value}" for key, value in settings.items()]
    process = subprocess.Popen(
        [PYTHON, "-I", machine.file, "serve", *flags],
        cwd=home,
        env=machine.environment | manager.environment,
    )
    try:
        assert manager.hears("READY=1")
        yield machine
        process.terminate()
        assert process.wait(COMMAND_S_MAX) == 0
    finally:
        process.kill()
        manager.close()


def test_the_demo_needs_no_more_than_the_file(machine: Machine) -> None:
    """Its boxes are processes of their own, which have to find the same code."""
    shown = machine.does("demo", "--once")
    assert "Both ledgers settled, and both audits agree." in shown
    assert [path.name for path in machine.home.iterdir()] == ["village-edge.pyz"]
