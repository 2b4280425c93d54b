"""Files that are whole or not there, files that are private, and the folder's one owner."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.appliance import files
from edge.errors import BoxBusy, ConfigError

HOLDER = """
import sys
from pathlib import Path
from edge.appliance.files import FolderLock
with FolderLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_file_is_written_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "key"
    files.write(path, b"one")
    assert (path.read_bytes(), mode_of(path)) == (b"one", 0o600)
    files.write(path, b"two", 0o644)
    assert (path.read_bytes(), mode_of(path)) == (b"two", 0o644)
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files.write(tmp_path / "private", b"")
        os.umask(0o777)
        files.write(tmp_path / "public", b"", 0o644)
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "private") == 0o600
    assert mode_of(tmp_path / "public") == 0o644


@pytest.mark.parametrize("step", ["fsync", "fchmod", "replace"])
def test_what_fails_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "key"
    files.write(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if step == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(ConfigError, match="No space left") as caught:
        files.write(path, b"new, and longer")
    assert str(path) in caught.value.detail
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    files.write(path, b"new")  # a leftover of the failure is in nobody's way
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write") as caught:
        files.write(tmp_path / "nowhere" / "key", b"")
    assert "nowhere" in caught.value.detail


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o644, 0o601])
def test_a_private_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    files.write(path, b"secret", mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}") as caught:
        files.read_private(path)
    assert f"{mode:04o}" in caught.value.detail
    path.chmod(0o600)
    assert files.read_private(path) == b"secret"


def test_a_private_file_must_be_there_and_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing"):
        files.read_private(tmp_path / "key")
    (tmp_path / "key").mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="cannot read"):
        files.read_private(tmp_path / "key")


def test_a_private_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    files.write(tmp_path / "key", b"x" * (files.PRIVATE_BYTES_MAX + 10))
    assert len(files.read_private(tmp_path / "key")) == files.PRIVATE_BYTES_MAX


def test_the_lock_excludes_and_comes_back(tmp_path: Path) -> None:
    with files.FolderLock(tmp_path):
        with pytest.raises(BoxBusy) as caught, files.FolderLock(tmp_path):
            pass
        assert str(tmp_path) in caught.value.detail
    with files.FolderLock(tmp_path):
        pass
    assert mode_of(tmp_path / "lock") == 0o600


def test_a_refused_lock_leaves_the_holder_its_own(tmp_path: Path) -> None:
    with files.FolderLock(tmp_path):
        for _ in range(2):
            with pytest.raises(BoxBusy), files.FolderLock(tmp_path):
                pass


def test_a_lock_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"), files.FolderLock(tmp_path / "nowhere"):
        pass


def test_the_lock_excludes_another_process_until_it_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert holder.stdin is not None and holder.stdout is not None
    with holder.stdin, holder.stdout:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BoxBusy), files.FolderLock(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with files.FolderLock(tmp_path):
            pass
