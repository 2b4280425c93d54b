"""Files that must survive a power cut, files that are nobody else's, and the folder's one owner."""

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from edge.errors import BoxBusy, ConfigError

PRIVATE_BYTES_MAX = 65_536
LOCK = "lock"


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file whole or not at all: to a temporary one, to the disk, then in its place."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def read_private(path: Path) -> bytes:
    """Read a file that only its owner may read. Raises ConfigError for any other mode."""
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise ConfigError(
                f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}): "
                f"run chmod 600 {path}; whoever has read it can pass for this box"
            )
        with path.open("rb") as file:
            return file.read(PRIVATE_BYTES_MAX)
    except FileNotFoundError:
        raise ConfigError(
            f"{path} is missing: put back the copy from this village's backup"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Bring a folder's own entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def empty(folder: Path) -> None:
    """Remove all from a locked folder, but its lock."""
    for path in folder.iterdir():
        if path.name != LOCK:
            path.unlink()


@contextlib.contextmanager
def new_folder(folder: Path, marker: str) -> Iterator[Path]:
    """Make a village's folder whole or not at all: fill the draft that this yields. `marker`: a
    file that a village's folder has. Raises ConfigError if the folder is in use."""
    place = folder.resolve()
    if place == Path.cwd():
        raise ConfigError("a village is made in a new folder: name one, not the one you are in")
    draft = place.with_name(f".{place.name}.new")
    try:
        _check_free(place, marker)
        place.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir(mode=0o700, exist_ok=True)
        with FolderLock(draft):  # against another who makes the same folder
            try:
                _check_free(place, marker)
                empty(draft)
                yield draft
                draft.replace(place)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
        sync_folder(place.parent)
    except OSError as error:
        raise ConfigError(f"cannot make {folder}: {error.strerror}") from error


def _check_free(place: Path, marker: str) -> None:
    if (place / marker).exists():
        raise ConfigError(f"{place} already holds a village: nothing was changed")
    if place.exists() and any(place.iterdir()):
        raise ConfigError(f"{place} is not empty: a village needs a folder of its own")


class FolderLock:
    """One process owns a village's folder. The kernel gives it back when that process dies."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot open {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(descriptor), self._path.stat()):
                raise BlockingIOError  # it was another folder's by the time that it was ours
        except OSError:
            os.close(descriptor)
            raise BoxBusy(
                f"another process is using {self._path.parent}: a box, or another command"
            ) from None
        self._descriptor = descriptor
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
