"""`export proof` and `verify` of what it wrote: with no network, and with no village either."""

import asyncio
import json
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge import app
from edge.config import load
from edge.core import checkpoint, crypto, messages, note
from edge.core.checkpoint import Checkpoint
from edge.core.log_proof import HEADER, LogProof
from edge.core.note import VerifierKey
from edge.storage import logs
from edge.storage.tx import OWN_LOG, Tx
from tests.integration.boxes import RealBox, befriend, until, village_edge
from tests.integration.test_cli import MISSOURI, answer, assert_refused, found, quick

OHIO, TEXAS = "ose-ohio-001", "ose-texas-001"
KEYS: Final = {each: crypto.SecretKey(crypto.sha256(each.encode())) for each in (OHIO, TEXAS)}
FAR_S: Final = 2**63 - 1


def vkey(village: str, algorithm: int = note.COSIGNATURE_V1) -> str:
    return VerifierKey(village, algorithm, KEYS[village].public).to_text()


def cosign(folder: Path, time_s: int = 1_760_000_000) -> None:
    """Have two villages cosign the newest checkpoint."""

    def keep(tx: Tx) -> None:
        size, root, _ = logs.last_checkpoint(tx, OWN_LOG) or (0, b"", "")
        for village, key in KEYS.items():
            line = checkpoint.cosign(Checkpoint(MISSOURI, size, root), village, key, time_s)
            made = messages.CosignatureLine(size, line.to_text())
            logs.keep_cosignature(tx, village, key.public, made)

    async def write() -> None:
        async with app.opened(folder, load(folder, {}, [])) as box:
            await box.store.write(keep)

    asyncio.run(write())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A village without a running box. Its records are cosigned, all but the last."""
    folder = found(tmp_path / "village")
    for line in (("member", "add", "Alice", "--pin", "1234"), ("issue", "Alice", "100")):
        assert quick(*line, "--dir", folder).code == 0
    cosign(folder)
    assert quick("declare", "Alice", "Flour", "5", "--dir", folder).code == 0
    return folder


@pytest.fixture
def key(home: Path) -> str:
    return str(answer("status", "--dir", home)["verifier_key"])


@pytest.fixture
def file(home: Path, tmp_path: Path) -> Path:
    path = tmp_path / "record-2.tlog-proof"
    done = quick("export", "proof", "2", "--dir", home, "--output", path)
    assert (done.code, done.err, done.out) == (0, "", f"Wrote {path}.\n")
    return path


def test_any_record_is_proved(home: Path, key: str, tmp_path: Path) -> None:
    """From the first to the last that others have cosigned, each with its record."""
    status = answer("status", "--dir", home)
    cosigned = status["log"]["cosigned_size"]
    assert cosigned == 3 < status["log"]["size"]
    witnesses = [f"--witness={vkey(village)}" for village in KEYS]
    kinds = []
    for index in range(cosigned):
        done = village_edge("export", "proof", str(index), "--dir", home)
        assert (done.code, done.err) == (0, "") and done.out.startswith(f"{HEADER}\nextra ")
        path = tmp_path / "proof"
        path.write_text(done.out, encoding="utf-8")
        shown = answer("verify", path, "--log", key, *witnesses)
        assert (shown["log"], shown["index"], shown["size"]) == (MISSOURI, index, cosigned)
        assert shown["cosigned"] == dict.fromkeys(KEYS, 1_760_000_000)
        assert shown["unchecked"] == []
        kinds.append(json.loads(shown["record"])["kind"])
    assert kinds == ["village", "asset", "sealed"]


def test_verify_needs_no_village(file: Path, key: str, home: Path, tmp_path: Path) -> None:
    home.rename(tmp_path / "gone")
    line = ("verify", file, "--log", key, "--witness", vkey(OHIO, note.ED25519))
    done = village_edge(*line, "--dir", tmp_path / "nowhere")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[:2] == ["The proof holds.", f"  log       {MISSOURI}, record 2 of 3"]
    assert f"  cosigned  by {OHIO}, 2025-10-09 08:53:20 UTC" in lines, "and no word of a clock"
    assert f"            signatures that nobody checked: {TEXAS}" in lines
    assert lines[-1].startswith('  record    {"kind":"sealed",')


def test_without_a_witness_it_is_the_logs_own_word(file: Path, key: str) -> None:
    done = quick("verify", file, "--log", key)
    assert done.code == 0
    assert "not checked: without --witness it is the log's own word alone" in done.out


def test_a_record_that_nobody_has_cosigned(home: Path, key: str, tmp_path: Path) -> None:
    last = str(answer("status", "--dir", home)["log"]["size"] - 1)
    assert_refused(quick("export", "proof", last, "--dir", home), 1, "--unwitnessed")
    path = tmp_path / "proof"
    line = ("export", "proof", last, "--unwitnessed", "--dir", home, "--output", path)
    assert quick(*line).code == 0
    shown = answer("verify", path, "--log", key)
    assert (shown["cosigned"], shown["unchecked"]) == ({}, [])
    assert_refused(quick("verify", path, "--log", key, "--witness", vkey(OHIO)), 1, OHIO)


def test_no_such_record(home: Path) -> None:
    for index in ("-1", "99", str(2**53 - 1)):
        assert_refused(quick("export", "proof", index, "--dir", home), 1, "there is no record")
    assert_refused(quick("export", "proof", str(10**30), "--dir", home), 2)
    line = ("export", "proof", "0", "--of", OHIO, "--dir", home)
    assert_refused(quick(*line), 1, "not a neighbour")
    line = ("export", "proof", "0", "--of", MISSOURI, "--dir", home)
    assert quick(*line).out == quick("export", "proof", "0", "--dir", home).out


def test_what_verify_refuses(file: Path, key: str, tmp_path: Path) -> None:
    """Each names what is wrong; 2 for what is no proof or no key, 1 for a proof that fails."""
    witness = vkey(OHIO)
    assert_refused(quick("verify", file), 2, "--log")
    assert_refused(quick("verify", file, "--log", key, "--log", key), 2, "one village's")
    for no_key in ("", "x", key + "x", key.replace("+", "-"), key[:-4] + "AAA="):
        assert_refused(quick("verify", file, f"--log={no_key}"), 2)
        assert_refused(quick("verify", file, "--log", key, f"--witness={no_key}"), 2)
    assert_refused(quick("verify", file, "--log", witness), 2, "witness")
    assert_refused(quick("verify", file, "--log", vkey(OHIO, note.ED25519)), 1, "another log")
    assert_refused(quick("verify", file, "--log", key, "--witness", key), 1, "its own log")
    proof = LogProof.from_text(file.read_text("utf-8"))
    other = tmp_path / "other"
    for text, code in (
        (file.read_text("utf-8").removesuffix("\n"), 1),
        (file.read_text("utf-8") + "\n", 1),
        (file.read_text("utf-8").replace("index 2", "index 02"), 2),
        (file.read_text("utf-8").replace("index 2", "index 1"), 1),
        (file.read_text("utf-8").replace("extra e", "extra f"), 1),
        (LogProof(2, proof.hashes, proof.signed).to_text(), 2),
        (LogProof(2, proof.hashes[:-1], proof.signed, proof.extra).to_text(), 1),
        (f"{HEADER}\n", 2),
        (f"{HEADER}\n" + "x" * 1_000_000, 2),
    ):
        other.write_text(text, encoding="utf-8")
        assert_refused(quick("verify", other, "--log", key), code)


def test_the_record_may_be_elsewhere(file: Path, key: str, tmp_path: Path) -> None:
    proof = LogProof.from_text(file.read_text("utf-8"))
    assert proof.extra is not None
    bare, record, wrong = tmp_path / "bare", tmp_path / "record", tmp_path / "wrong"
    bare.write_text(LogProof(2, proof.hashes, proof.signed).to_text(), encoding="utf-8")
    record.write_bytes(proof.extra)
    wrong.write_bytes(proof.extra + b"\n")
    for each in (bare, file):
        shown = answer("verify", each, "--log", key, "--record", record)
        assert shown["record"].encode() == proof.extra
        assert_refused(quick("verify", each, "--log", key, "--record", wrong), 1 + (each == file))


def test_a_cosignature_from_the_future_is_shown_as_it_is(
    home: Path, key: str, tmp_path: Path
) -> None:
    cosign(home, FAR_S)
    path = tmp_path / "proof"
    assert quick("export", "proof", "3", "--dir", home, "--output", path).code == 0
    line = ("verify", path, "--log", key, "--witness", vkey(OHIO))
    said = "by this machine's clock that is still to come"
    assert f"by {OHIO}, {FAR_S} s after 1970: {said}" in quick(*line).out
    assert answer(*line)["cosigned"] == {OHIO: FAR_S}


def test_flags_of_a_proof_are_for_proofs(tmp_path: Path, key: str) -> None:
    path = tmp_path / "receipt"
    path.write_text("{}")
    assert_refused(quick("verify", path, "--witness", key), 2, "--witness")
    assert_refused(quick("verify", path, "--record", path), 2, "--record")


@given(st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_a_proof_or_refused(
    file: Path, key: str, tmp_path: Path, data: st.DataObject
) -> None:
    """What is read is a value or one line: a good file with a piece changed, or no proof at all."""
    good = file.read_bytes()
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(start + 40, len(good))))
    body = good[:start] + data.draw(st.binary(max_size=8)) + good[end:]
    other = tmp_path / "any"
    other.write_bytes(data.draw(st.sampled_from([body, f"{HEADER}\n".encode() + body[:99]])))
    done = quick("verify", other, "--log", key)
    if done.code:
        assert_refused(done, done.code)
        assert done.code in (1, 2)
    else:
        assert json.loads(LogProof.from_text(other.read_text("utf-8")).extra or b"")


async def test_a_neighbours_record_is_proved_by_the_copy(tmp_path: Path) -> None:
    boxes = [RealBox(tmp_path, village) for village in (MISSOURI, TEXAS)]
    missouri, texas = boxes
    try:
        for box in boxes:
            await box.start()
        await befriend(missouri, texas)

        async def exported() -> str:
            done = await asyncio.to_thread(
                village_edge, "export", "proof", "0", "--of", MISSOURI, "--dir", texas.folder
            )
            return done.out

        path = tmp_path / "proof"
        path.write_text(await until(exported, "the copy is cosigned"), encoding="utf-8")
        keys = [
            (await asyncio.to_thread(answer, "status", "--dir", box.folder))["verifier_key"]
            for box in boxes
        ]
        shown = await asyncio.to_thread(
            answer, "verify", path, "--log", keys[0], "--witness", keys[1]
        )
        assert (shown["log"], list(shown["cosigned"])) == (MISSOURI, [TEXAS])
    finally:
        for box in boxes:
            box.end()
