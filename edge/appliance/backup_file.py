"""A backup in one file, sealed under a key that derives from the recovery phrase.

    village-edge backup 1
    <village id> <its public key, 64 hex digits>
    <24 bytes: the header of libsodium's secretstream>
    <parts of PART_BYTES, each sealed, the last one shorter and marked as the last>

What is sealed is the length of a manifest (4 bytes, big-endian), the manifest as JSON, and the
ledger. The first part is sealed together with the two lines of text.
"""

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

import msgspec

from edge.core import canonical, crypto
from edge.core.crypto import Opener, Sealer
from edge.errors import (
    Altered,
    BadBackup,
    BadSignature,
    BoxError,
    ConfigError,
    CutShort,
    DiskFull,
    PeerError,
    WrongPhrase,
)

FIRST_LINE: Final = b"village-edge backup 1\n"
PURPOSE: Final = "village-edge/backup/v1"
PART_BYTES: Final = 128 * 1024
MANIFEST_BYTES_MAX: Final = PART_BYTES - 4
HEAD_BYTES_MAX: Final = 512
_SEALED_BYTES: Final = PART_BYTES + crypto.SEAL_BYTES

Progress = Callable[[int, int], None]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup holds. `size`, `root`: the end of the own log; `schema`: of the database;
    `made_ms`: when, UTC; `files`: the small ones of the village's folder, by name."""

    village: str
    made_ms: int
    schema: int
    size: int
    root: bytes
    ledger_bytes: int
    ledger_sha256: bytes
    files: dict[str, str]


_manifest = canonical.Codec(Manifest, "manifest", MANIFEST_BYTES_MAX)


def write(
    path: Path, key: crypto.SecretKey, manifest: Manifest, ledger: Path, progress: Progress
) -> None:
    """Write a new backup and bring it to the disk. `progress` is given bytes done and in all.

    Raises DiskFull, BadBackup.
    """
    head, begin = _head(manifest.village, key.public), _begin(manifest)
    total = len(begin) + manifest.ledger_bytes
    sealer = Sealer(crypto.derive(key.seed, PURPOSE))
    done = 0
    try:
        with path.open("xb") as file, ledger.open("rb") as source:
            os.fchmod(file.fileno(), 0o600)
            file.write(head + sealer.header)
            for part in _parts(begin, source):
                about = head if done == 0 else b""
                done += len(part)
                file.write(sealer.seal(part, about, is_last=done == total))
                progress(done, total)
            file.flush()
            os.fsync(file.fileno())
            _forget_pages(file)
    except OSError as error:
        raise _unwritable(path, error) from error
    assert done == total, "the ledger's copy changed while it was read"


class Backup:
    """A backup opened for reading, its manifest checked. Close it."""

    def __init__(self, path: Path, key: crypto.SecretKey) -> None:
        """Raises WrongPhrase, CutShort, Altered, BadBackup."""
        self._path = path
        try:
            self._file: IO[bytes] = path.open("rb")
        except OSError as error:
            raise BadBackup(f"cannot read {path}: {error.strerror}") from error
        try:
            self._head = _read_head(self._file, path, key.public)
            header = self._file.read(crypto.SEAL_HEADER_BYTES)
            if len(header) < crypto.SEAL_HEADER_BYTES:
                raise self._cut_short(0)
            self._opener = Opener(crypto.derive(key.seed, PURPOSE), header)
            self._number = 0
            self._first, self._is_last = self._part()
            self.manifest: Final = self._read_manifest()
        except BaseException:
            self._file.close()
            raise

    def ledger(self, progress: Progress) -> Iterator[bytes]:
        """Yield the ledger in parts, each of them checked; it is whole once this ends.

        Raises CutShort, Altered.
        """
        manifest, digest, done = self.manifest, hashlib.sha256(), 0
        part = self._first[self._ledger_at :]
        while True:
            digest.update(part)
            done += len(part)
            yield part
            progress(min(done, manifest.ledger_bytes), manifest.ledger_bytes)
            if self._is_last:
                break
            part, self._is_last = self._part()
        if self._file.read(1) or (done, digest.digest()) != (
            manifest.ledger_bytes,
            manifest.ledger_sha256,
        ):
            raise Altered(f"{self._path} is altered: there is more than belongs to it")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Backup":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _part(self) -> tuple[bytes, bool]:
        try:
            sealed = self._file.read(_SEALED_BYTES)
        except OSError as error:
            raise BadBackup(f"cannot read {self._path}: {error.strerror}") from error
        if len(sealed) < crypto.SEAL_BYTES:
            raise self._cut_short(self._number)
        try:
            part = self._opener.open(sealed, b"" if self._number else self._head)
        except BadSignature:
            if len(sealed) < _SEALED_BYTES and self._is_short():
                raise self._cut_short(self._number) from None
            raise Altered(
                f"{self._path} is altered: its part {self._number} does not open"
            ) from None
        self._number += 1
        return part

    def _is_short(self) -> bool:
        """Tell whether bytes are missing: the first part says how many there must be."""
        if self._number == 0:
            return True
        plain = self._ledger_at + self.manifest.ledger_bytes
        parts = -(-plain // PART_BYTES)
        before = len(self._head) + crypto.SEAL_HEADER_BYTES
        return self._path.stat().st_size < before + plain + parts * crypto.SEAL_BYTES

    def _cut_short(self, parts: int) -> CutShort:
        return CutShort(f"{self._path} is cut short: it ends within part {parts}")

    def _read_manifest(self) -> Manifest:
        length = int.from_bytes(self._first[:4], "big")
        self._ledger_at = 4 + length
        try:
            found = _manifest.decode(self._first[4 : self._ledger_at])
        except PeerError as error:
            raise BadBackup(f"{self._path} cannot be used: {error.detail}") from None
        if self._head != _head(found.village, bytes.fromhex(_key_of(self._head))):
            raise Altered(f"{self._path} is altered: it names another village")
        return found


def village_of(path: Path) -> str:
    """Return the village that a backup says it is of, which is not checked. Raises BadBackup."""
    try:
        with path.open("rb") as file:
            return _words(file.read(HEAD_BYTES_MAX), path)[0]
    except OSError as error:
        raise BadBackup(f"cannot read {path}: {error.strerror}") from error


def _head(village: str, public: bytes) -> bytes:
    return FIRST_LINE + f"{village} {public.hex()}\n".encode()


def _read_head(file: IO[bytes], path: Path, public: bytes) -> bytes:
    """Read the lines of text; leave the file behind them."""
    begin = file.read(HEAD_BYTES_MAX)
    village, key = _words(begin, path)
    if key != public.hex():
        raise WrongPhrase(f"this is not the recovery phrase of {village}, whose backup this is")
    head = _head(village, public)
    file.seek(len(head))
    return head


def _words(begin: bytes, path: Path) -> tuple[str, str]:
    """Return village id and key from the second line."""
    if not begin.startswith(FIRST_LINE):
        if FIRST_LINE.startswith(begin):
            raise CutShort(f"{path} is cut short: it ends within its first line")
        raise BadBackup(f"{path} is not a backup that this version knows")
    line, newline, _ = begin[len(FIRST_LINE) :].partition(b"\n")
    if not newline and len(begin) < HEAD_BYTES_MAX:
        raise CutShort(f"{path} is cut short: it ends within its second line")
    found = _SECOND_LINE.fullmatch(line.decode("latin-1"))
    if not newline or found is None:
        raise Altered(f"{path} is altered: its second line is none")
    return found[1], found[2]


def _key_of(head: bytes) -> str:
    return head.rstrip(b"\n").rpartition(b" ")[2].decode()


def _begin(manifest: Manifest) -> bytes:
    encoded = canonical.encode(manifest)
    if len(encoded) > MANIFEST_BYTES_MAX:
        raise BadBackup("the small files of the village's folder are too large for a backup")
    return len(encoded).to_bytes(4, "big") + encoded


def _parts(begin: bytes, source: IO[bytes]) -> Iterator[bytes]:
    part = begin + source.read(PART_BYTES - len(begin))
    while part:
        yield part
        part = source.read(PART_BYTES)


def _forget_pages(file: IO[bytes]) -> None:
    """Let what is read next come from the disk itself, where that can be asked for."""
    with contextlib.suppress(OSError):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _unwritable(path: Path, error: OSError) -> BoxError:
    if error.errno == errno.ENOSPC:
        return DiskFull(f"the disk is full: no backup was made at {path}")
    return ConfigError(f"cannot write {path}: {error.strerror}")


_SECOND_LINE: Final = re.compile(r"([a-z0-9-]{1,63}) ([0-9a-f]{64})")
