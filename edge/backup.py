"""The village in one file, and back from it."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge import app
from edge.appliance import backup_file, files, recovery
from edge.appliance.backup_file import Backup, Manifest
from edge.appliance.clock import Clock
from edge.appliance.randomness import random_bytes
from edge.config import FILE as SETTINGS
from edge.core import crypto
from edge.errors import BadBackup, ConfigError, DiskFull, NewerSchema
from edge.storage import database, set_back, snapshot
from edge.storage.tx import Identity
from edge.storage.writer import Writer

WORKSHOP = ".backup"  # in the village's folder: the ledger's copy, while a backup is made
KEPT = (app.TLS_KEY, app.TLS_CERTIFICATE, SETTINGS)  # the key derives from the phrase
_READ_BYTES = 1 << 20

Progress = Callable[[str, int, int], None]  # what is being done, how much of it is, and in all


class Made(msgspec.Struct, frozen=True):
    """A backup that was written and opened again, or a village that came back from one."""

    village: str
    file: str
    records: int
    root: str
    bytes: int
    made_ms: int


def make(folder: Path, file: Path, progress: Progress, *, force: bool = False) -> Made:
    """Write a village's backup, whether its box runs or not, and open it again to see that it
    holds what it should. The file is there whole or not at all.

    Raises ConfigError, BoxBusy, CorruptDatabase, DiskFull, BadBackup.
    """
    key = app.read_identity(folder)
    if file.exists() and not force:
        raise ConfigError(f"{file} is there already: --force writes over it")
    draft = file.with_name(f".{file.name}.new")
    workshop = folder / WORKSHOP
    try:
        workshop.mkdir(mode=0o700, exist_ok=True)
        with files.FolderLock(workshop):
            files.empty(workshop)
            try:
                manifest = _seal(folder, workshop / app.LEDGER, draft, key, progress)
                _try_out(draft, key, manifest, progress)
                draft.replace(file)
                files.sync_folder(file.resolve().parent)
            finally:
                draft.unlink(missing_ok=True)
                files.empty(workshop)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from error
    return _made(file, manifest)


def restore(file: Path, folder: Path, phrase: str, progress: Progress) -> Made:
    """Make a village's folder from a backup. Its box asks the neighbours for what came after the
    backup before it says anything: see storage/set_back.

    Raises ConfigError, InvalidInput, WrongPhrase, BadBackup, CutShort, Altered, NewerSchema.
    """
    key = crypto.SecretKey(recovery.identity_seed(phrase))
    with Backup(file, key) as backup, files.new_folder(folder, SETTINGS) as draft:
        manifest = backup.manifest
        if manifest.schema > database.SCHEMA_VERSION:
            raise NewerSchema(
                f"{file} has schema {manifest.schema}, made by a newer version; this one knows "
                f"{database.SCHEMA_VERSION}: update the box's program first"
            )
        if set(manifest.files) != set(KEPT):
            raise BadBackup(f"{file} does not hold what a village's folder needs")
        _unpack(backup, draft / app.LEDGER, progress)
        files.write(draft / app.IDENTITY, app.identity_text(key))
        for name, text in manifest.files.items():
            files.write(draft / name, text.encode(), 0o600 if name == app.TLS_KEY else 0o644)
        _mark(draft / app.LEDGER, Identity(manifest.village, key), manifest)
    return _made(file, manifest)


def _seal(
    folder: Path, copy: Path, draft: Path, key: crypto.SecretKey, progress: Progress
) -> Manifest:
    _check_room(folder / app.LEDGER, copy.parent)
    taken = snapshot.take(
        folder / app.LEDGER, copy, lambda done, all_: progress("copied", done, all_)
    )
    manifest = Manifest(
        village=taken.village,
        made_ms=Clock().now_ms(),
        schema=taken.schema,
        size=taken.size,
        root=taken.root,
        ledger_bytes=copy.stat().st_size,
        ledger_sha256=_digest(copy),
        files={name: _read_text(folder / name) for name in KEPT},
    )
    draft.unlink(missing_ok=True)
    backup_file.write(draft, key, manifest, copy, lambda done, all_: progress("sealed", done, all_))
    return manifest


def _try_out(draft: Path, key: crypto.SecretKey, manifest: Manifest, progress: Progress) -> None:
    """Open all of a backup as `restore` would; what it holds is the copy that was checked."""
    with Backup(draft, key) as written:
        for _ in written.ledger(lambda done, all_: progress("tried out", done, all_)):
            pass
        if written.manifest != manifest:
            raise BadBackup(f"{draft} does not hold what was written to it: look at the disk")


def _unpack(backup: Backup, ledger: Path, progress: Progress) -> None:
    with ledger.open("xb") as target:
        os.fchmod(target.fileno(), 0o600)
        for part in backup.ledger(lambda done, all_: progress("restored", done, all_)):
            target.write(part)
        target.flush()
        os.fsync(target.fileno())


def _mark(path: Path, identity: Identity, manifest: Manifest) -> None:
    """Check the ledger, bring its schema up to date, and mark it as one that was set back."""
    conn = database.open_writer(path)
    try:
        with database.storage_errors(path):
            found = snapshot.check(conn, path)
        if (found.village, found.size, found.root) != (
            identity.village,
            manifest.size,
            manifest.root,
        ):
            raise BadBackup(f"{path} is not the ledger that its backup names")
        writer = Writer(conn, identity, random_bytes, path)
        [(_, error)] = writer.run([set_back.mark_restored], Clock().now_ms())
        if error is not None:
            raise error
    finally:
        conn.close()


def _check_room(ledger: Path, folder: Path) -> None:
    """Raise DiskFull if the ledger's copy has no room, before anything is written."""
    needed = ledger.stat().st_size
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < needed:
        raise DiskFull(
            f"the disk is full: a backup needs {needed // 1_000_000 + 1} MB in {folder.parent} for "
            "a while; free some space"
        )


def _digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_READ_BYTES):
            digest.update(part)
    return digest.digest()


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def _made(file: Path, manifest: Manifest) -> Made:
    return Made(
        village=manifest.village,
        file=str(file),
        records=manifest.size,
        root=manifest.root.hex(),
        bytes=file.stat().st_size,
        made_ms=manifest.made_ms,
    )
