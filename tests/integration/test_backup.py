"""Backups of real boxes, and villages that come back from them."""

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from edge import app, backup, control
from edge.appliance import backup_file, recovery
from edge.core import crypto
from edge.errors import BadBackup
from edge.storage import database
from tests.integration.boxes import RealBox, village_edge

MISSOURI = "ose-missouri-001"


def quiet(_what: str, _done: int, _total: int) -> None: ...


@pytest.fixture
def box(tmp_path: Path) -> RealBox:
    made = RealBox(tmp_path, MISSOURI)
    village_edge("member", "add", "Alice", "--pin", "1234", "--dir", made.folder)
    village_edge("issue", "Alice", "500", "--note", "a secret note", "--dir", made.folder)
    return made


async def test_a_backup_while_the_box_writes(box: RealBox, tmp_path: Path) -> None:
    """It is one state, though others pay meanwhile; the box does not wait for it."""
    await box.start()
    file, done = tmp_path / "backup", asyncio.Event()

    async def pay() -> int:
        count = 0
        while not done.is_set():
            await box.ask(control.Issue("treasury", "1", "", str(count)))
            count += 1
        return count

    paying = asyncio.create_task(pay())
    made = await asyncio.to_thread(village_edge, "backup", file, "--json", "--dir", box.folder)
    done.set()
    assert await paying > 0
    assert made.code == 0, made.err
    assert box.stop() == 0
    assert b"secret note" not in file.read_bytes()
    told = json.loads(made.out)
    assert (told["village"], told["file"]) == (MISSOURI, str(file))
    folder = tmp_path / "restored"
    back = village_edge("restore", file, "--dir", folder, stdin=f"{box.phrase}\n".encode())
    assert back.code == 0, back.err
    assert f"{told['records']} records" in back.out
    for name in (app.IDENTITY, app.TLS_KEY, app.TLS_CERTIFICATE, "village.toml"):
        assert (folder / name).read_bytes() == (box.folder / name).read_bytes()
        assert (folder / name).stat().st_mode == (box.folder / name).stat().st_mode
    audited = village_edge("audit", "--dir", folder)
    assert (audited.code, f"{told['records']} records" in audited.out) == (0, True), audited.err


def test_nothing_is_left_behind(box: RealBox, tmp_path: Path) -> None:
    assert village_edge("backup", tmp_path / "backup", "--dir", box.folder).code == 0
    workshop = box.folder / backup.WORKSHOP
    assert {each.name for each in workshop.iterdir()} == {"lock"}
    assert {each.name for each in tmp_path.iterdir()} == {MISSOURI, "backup"}


def test_what_is_there_is_not_written_over(box: RealBox, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    file.write_text("mine")
    refused = village_edge("backup", file, "--dir", box.folder)
    assert (refused.code, file.read_text()) == (2, "mine")
    assert "--force" in refused.err
    assert village_edge("backup", file, "--force", "--dir", box.folder).code == 0
    again = village_edge("restore", file, "--dir", box.folder, stdin=box.phrase.encode())
    assert again.code == 2
    assert "already holds a village" in again.err


def test_a_stopped_backup_leaves_the_older_one(
    box: RealBox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "backup"
    backup.make(box.folder, file, quiet)
    before = file.read_bytes()

    def spoiled(*arguments: object) -> None:
        path = arguments[0]
        assert isinstance(path, Path)
        write(*arguments)  # type: ignore[arg-type]
        whole = bytearray(path.read_bytes())
        whole[-30] ^= 1  # as a bad card does
        path.write_bytes(whole)

    write = backup_file.write
    monkeypatch.setattr(backup_file, "write", spoiled)
    with pytest.raises(BadBackup, match="altered"):
        backup.make(box.folder, file, quiet, force=True)
    assert file.read_bytes() == before
    assert {each.name for each in tmp_path.iterdir()} == {MISSOURI, "backup"}


def test_wrong_phrases(box: RealBox, tmp_path: Path) -> None:
    file, folder = tmp_path / "backup", tmp_path / "restored"
    backup.make(box.folder, file, quiet)
    other = recovery.phrase_of(bytes(16))
    for phrase, words in ((other, MISSOURI), ("no phrase at all", "check the words")):
        refused = village_edge("restore", file, "--dir", folder, stdin=phrase.encode())
        assert (refused.code, folder.exists()) == (2, False)
        assert words in refused.err
        assert phrase not in refused.err


def test_a_file_that_is_not_whole(box: RealBox, tmp_path: Path) -> None:
    file, folder = tmp_path / "backup", tmp_path / "restored"
    backup.make(box.folder, file, quiet)
    whole = file.read_bytes()
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 1
    for content, words in ((whole[:-5], "cut short"), (bytes(altered), "altered"), (b"x", "not a")):
        file.write_bytes(content)
        refused = village_edge("restore", file, "--dir", folder, stdin=box.phrase.encode())
        assert (refused.code, words in refused.err) == (4, True), refused.err
        assert {each.name for each in tmp_path.iterdir()} == {MISSOURI, "backup"}


def test_a_newer_schema(box: RealBox, tmp_path: Path) -> None:
    file, folder = tmp_path / "backup", tmp_path / "restored"
    backup.make(box.folder, file, quiet)
    key = crypto.SecretKey(recovery.identity_seed(box.phrase))
    with backup_file.Backup(file, key) as made:
        ledger = tmp_path / "ledger"
        ledger.write_bytes(b"".join(made.ledger(lambda _done, _total: None)))
        newer = {"schema": database.SCHEMA_VERSION + 1}
        manifest = backup_file.Manifest(
            **{name: getattr(made.manifest, name) for name in made.manifest.__struct_fields__}
            | newer
        )
    file.unlink()
    backup_file.write(file, key, manifest, ledger, lambda _done, _total: None)
    refused = village_edge("restore", file, "--dir", folder, stdin=box.phrase.encode())
    assert (refused.code, "made by a newer version" in refused.err) == (2, True), refused.err
    assert not folder.exists()


def test_a_damaged_ledger_is_not_backed_up(box: RealBox, tmp_path: Path) -> None:
    """Else a good backup would be written over by a bad one."""
    with sqlite3.connect(box.folder / app.LEDGER) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        conn.execute("DROP TRIGGER checkpoint_fixed")
        conn.execute("UPDATE checkpoint SET root = zeroblob(32) WHERE log = 0")
    conn.close()
    refused = village_edge("backup", tmp_path / "backup", "--dir", box.folder)
    assert (refused.code, "damaged" in refused.err) == (4, True), refused.err
    assert not (tmp_path / "backup").exists()


def test_memory_does_not_grow_with_the_ledger(box: RealBox, tmp_path: Path) -> None:
    """A ledger of 80 MB goes through in a process of little more than an empty one's memory."""
    with sqlite3.connect(box.folder / app.LEDGER) as conn:
        conn.executemany(
            "INSERT INTO candidate VALUES (?, ?, 'test', 0)",
            ((f"ose-village-{each:03}", os.urandom(1_000_000)) for each in range(80)),
        )
    conn.close()
    grown = _peak_kib("backup", tmp_path / "large", "--dir", box.folder)
    shutil.rmtree(box.folder)
    small = _peak_kib("--version")
    assert grown - small < 48 * 1024
    restored = _peak_kib("restore", tmp_path / "large", "--dir", box.folder, stdin=box.phrase)
    assert restored - small < 64 * 1024


def _peak_kib(*arguments: str | Path, stdin: str = "") -> int:
    """Return the peak of a command's memory."""
    program = (
        "import resource, sys\nfrom edge.cli import main\ncode = 0\n"
        "try:\n    code = main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "assert code == 0\n"
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        input=stdin.encode(),
        capture_output=True,
        check=True,
        timeout=120,
    )
    return int(done.stdout.split()[-1])
