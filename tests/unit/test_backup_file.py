"""Backup files: only what was written opens, whole, with the right key, and else one exception says
what is wrong."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.appliance import backup_file
from edge.appliance.backup_file import PART_BYTES, Backup, Manifest
from edge.core import crypto
from edge.errors import Altered, BadBackup, ConfigError, CutShort, WrongPhrase

KEY = crypto.SecretKey(bytes(range(32)))
OTHER = crypto.SecretKey(bytes(32))
VILLAGE = "ose-missouri-001"
SEALED_BYTES = PART_BYTES + crypto.SEAL_BYTES
FILES = {"village.toml": '[village]\nid = "ose-missouri-001"\n', "tls.key": "..."}


def quiet(_done: int, _total: int) -> None: ...


def manifest_of(ledger: bytes) -> Manifest:
    digest = hashlib.sha256(ledger).digest()
    return Manifest(VILLAGE, 1, 7, 3, b"r" * 32, len(ledger), digest, FILES)


def written(folder: Path, ledger: bytes) -> Path:
    (folder / "ledger").write_bytes(ledger)
    path = folder / "backup"
    path.unlink(missing_ok=True)
    backup_file.write(path, KEY, manifest_of(ledger), folder / "ledger", quiet)
    return path


def opened(path: Path, key: crypto.SecretKey = KEY) -> bytes:
    with Backup(path, key) as backup:
        return b"".join(backup.ledger(quiet))


def begin_bytes(ledger: bytes) -> int:
    """Return how many bytes stand before the ledger in what is sealed."""
    return len(backup_file._begin(manifest_of(ledger)))


@pytest.mark.parametrize("size", [1, 1_000, PART_BYTES, 3 * PART_BYTES + 17])
def test_what_was_written_opens(tmp_path: Path, size: int) -> None:
    ledger = bytes(each % 251 for each in range(size))
    path = written(tmp_path, ledger)
    assert opened(path) == ledger
    with Backup(path, KEY) as backup:
        assert backup.manifest == manifest_of(ledger)
    assert path.stat().st_mode & 0o077 == 0
    assert ledger[:500] not in path.read_bytes() or size < 500


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_ledger_that_ends_where_a_part_does(tmp_path: Path, more: int) -> None:
    size = 2 * PART_BYTES - begin_bytes(bytes(2 * PART_BYTES)) + more
    assert opened(written(tmp_path, bytes(size))) == bytes(size)


def test_no_more_than_a_part_is_in_memory(tmp_path: Path) -> None:
    path = written(tmp_path, bytes(9 * PART_BYTES))
    with Backup(path, KEY) as backup:
        assert max(len(part) for part in backup.ledger(quiet)) <= PART_BYTES


def test_another_villages_phrase(tmp_path: Path) -> None:
    path = written(tmp_path, bytes(10))
    with pytest.raises(WrongPhrase, match="not the recovery phrase of ose-missouri-001"):
        opened(path, OTHER)


def test_the_key_is_one_of_its_own(tmp_path: Path) -> None:
    """Nothing sealed for another purpose opens as a backup, and the reverse."""
    assert crypto.derive(KEY.seed, backup_file.PURPOSE) not in (KEY.seed, KEY.public)


def test_cut_short_anywhere(tmp_path: Path) -> None:
    ledger = bytes(2 * PART_BYTES)
    path = written(tmp_path, ledger)
    whole = path.read_bytes()
    head = len(whole) - crypto.SEAL_BYTES * 3 - begin_bytes(ledger) - len(ledger)
    ends = {0, 5, 30, 100, head - 1, head, head + 1, head + SEALED_BYTES - 1, head + SEALED_BYTES}
    ends |= {head + 2 * SEALED_BYTES, head + SEALED_BYTES + 5, len(whole) - 1}
    for end in sorted(ends):
        path.write_bytes(whole[:end])
        with pytest.raises(CutShort, match="cut short"):
            opened(path)


def test_what_stands_behind_the_end(tmp_path: Path) -> None:
    path = written(tmp_path, bytes(2 * PART_BYTES))
    whole = path.read_bytes()
    for more in (b"x", whole[-100:], bytes(SEALED_BYTES)):
        path.write_bytes(whole + more)
        with pytest.raises(Altered):
            opened(path)


def _swapped(parts: list[bytes]) -> list[bytes]:
    return [parts[0], parts[2], parts[1], *parts[3:]]


def _left_out(parts: list[bytes]) -> list[bytes]:
    return [parts[0], *parts[2:]]


def _twice(parts: list[bytes]) -> list[bytes]:
    return [*parts[:2], parts[1], *parts[2:]]


@pytest.mark.parametrize("change", [_swapped, _left_out, _twice])
def test_parts_stand_in_their_order(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    path = written(tmp_path, bytes(4 * PART_BYTES))
    whole = path.read_bytes()
    head = whole.index(b"\n", len(backup_file.FIRST_LINE)) + 1 + crypto.SEAL_HEADER_BYTES
    parts = [whole[at : at + SEALED_BYTES] for at in range(head, len(whole), SEALED_BYTES)]
    path.write_bytes(whole[:head] + b"".join(change(parts)))
    with pytest.raises((Altered, CutShort)):
        opened(path)


@given(st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_altered_byte(tmp_path: Path, data: st.DataObject) -> None:
    path = written(tmp_path, bytes(PART_BYTES + 99))
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    with pytest.raises((BadBackup, WrongPhrase)):  # its public key names whose phrase opens it
        opened(path)


def test_its_village_is_authenticated(tmp_path: Path) -> None:
    path = written(tmp_path, bytes(PART_BYTES))
    path.write_bytes(path.read_bytes().replace(b"missouri", b"illinois"))
    with pytest.raises(Altered):
        opened(path)


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any"
    for begin in (b"", backup_file.FIRST_LINE, backup_file._head(VILLAGE, KEY.public)):
        path.write_bytes(begin + content)
        with pytest.raises(BadBackup):
            opened(path)


def test_no_file_and_no_place(tmp_path: Path) -> None:
    with pytest.raises(BadBackup, match="cannot read"):
        opened(tmp_path / "none")
    (tmp_path / "ledger").write_bytes(b"x")
    for place in (tmp_path / "none" / "backup", tmp_path):
        with pytest.raises(ConfigError):
            backup_file.write(place, KEY, manifest_of(b"x"), tmp_path / "ledger", quiet)
