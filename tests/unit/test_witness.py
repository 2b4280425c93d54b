"""What a witness is asked and what it decides: upstream's transcript, strict reading, refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import checkpoint, crypto, limits, merkle, note
from edge.core.checkpoint import Checkpoint
from edge.core.witness import RETRY_S, AddCheckpoint, Known, check_signed, decide
from edge.errors import (
    BadProof,
    Malformed,
    PeerError,
    StaleCheckpoint,
    TooLarge,
    UntrustedCheckpoint,
)

VECTOR: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "tlog_witness_add_checkpoint.json").read_text("utf-8")
)
ORIGIN: Final = "ose-missouri-001"
KEY: Final = crypto.SecretKey(bytes(range(32)))
OTHER: Final = crypto.SecretKey(bytes(32))
LEAVES: Final = [merkle.leaf_hash(b"%d" % index) for index in range(40)]


def root(size: int) -> bytes:
    return merkle.root_from_edge(merkle.extend(0, [], LEAVES[:size])[0])


def nodes() -> dict[merkle.Node, bytes]:
    found = {merkle.Node(0, index): leaf for index, leaf in enumerate(LEAVES)}
    for level, index, hash_ in merkle.extend(0, [], LEAVES)[1]:
        found[merkle.Node(level, index)] = hash_
    return found


def proof(old: int, new: int) -> list[bytes]:
    return merkle.consistency_proof(old, new, nodes())


def signed(size: int, of: bytes | None = None, key: crypto.SecretKey = KEY) -> str:
    return checkpoint.sign_checkpoint(Checkpoint(ORIGIN, size, of or root(size)), key)


def asked(old: int, new: int) -> AddCheckpoint:
    return AddCheckpoint.of(old, proof(old, new), signed(new))


def known(size: int, copied: int | None = None) -> Known:
    """A log of which `size` records are cosigned; the checkpoint at hand has `copied` of them, None
    if they are not stored."""
    return Known(size, root(size), None if copied is None else root(copied))


# Upstream's transcript


def test_the_transcript() -> None:
    """Each request of one log's life, in order, gets the status that C2SP wants today."""
    public = bytes.fromhex(VECTOR["log_ed25519_pub_hex"])
    size, newest = 0, merkle.EMPTY_ROOT
    seen = set()
    for step in VECTOR["sequence"]:
        request = AddCheckpoint.from_body(step["body"].encode())
        assert request.to_body() == step["body"].encode()
        status = 404 if request.head.origin != VECTOR["log_origin"] else 0
        if not status:
            status = status_of(request, public, Known(size, newest, request.head.root))
        assert status == step["want_status_c2sp_2026"], step["assert"]
        seen.add(status)
        if status == 409:
            assert step["assert"] == f'body == "{size}\\n"'
        if status == 200:
            size, newest = request.head.size, request.head.root
    assert (size, seen) == (5, {200, 403, 404, 409, 422})


def status_of(request: AddCheckpoint, public: bytes, stored: Known) -> int:
    try:
        check_signed(request, public)
    except UntrustedCheckpoint:
        return 403
    refusal = decide(request, stored).refusal
    return 200 if refusal is None else {StaleCheckpoint: 409, BadProof: 422}[type(refusal)]


# Reading

BODY: Final = asked(3, 7).to_body()
HASH: Final = note.to_base64(bytes(32)).encode() + b"\n"


def test_a_request_is_read() -> None:
    found = AddCheckpoint.from_body(BODY)
    assert found == asked(3, 7)
    assert (found.old, found.head) == (3, Checkpoint(ORIGIN, 7, root(7)))
    assert list(found.proof) == proof(3, 7)
    check_signed(found, KEY.public)


@given(
    old=st.integers(0, limits.TREE_SIZE_MAX),
    hashes=st.lists(st.binary(min_size=32, max_size=32), max_size=limits.PROOF_HASHES_MAX),
    size=st.integers(0, limits.TREE_SIZE_MAX),
)
def test_what_is_made_is_read_again(old: int, hashes: list[bytes], size: int) -> None:
    made = AddCheckpoint.of(old, hashes, signed(size, bytes(32)))
    assert AddCheckpoint.from_body(made.to_body()) == made


def test_the_greatest_request_is_read() -> None:
    text = signed(limits.TREE_SIZE_MAX, bytes(32))
    line = f"— w {note.to_base64(bytes(300))}\n"
    room = limits.NOTE_BYTES_MAX - len(text.encode())
    text += line * (room // len(line.encode()))
    made = AddCheckpoint.of(
        limits.TREE_SIZE_MAX, [bytes(32)] * limits.PROOF_HASHES_MAX, text
    ).to_body()
    assert limits.ADD_CHECKPOINT_BYTES_MAX - 2_000 < len(made) <= limits.ADD_CHECKPOINT_BYTES_MAX
    assert AddCheckpoint.from_body(made).to_body() == made


MISREAD: Final[dict[str, bytes]] = {
    "nothing": b"",
    "no UTF-8": BODY.replace(b"old", b"\xff"),
    "no old size": BODY.partition(b"\n")[2],
    "another word": BODY.replace(b"old", b"new"),
    "two spaces": BODY.replace(b"old ", b"old  "),
    "a leading zero": BODY.replace(b"old 3", b"old 03"),
    "a sign": BODY.replace(b"old 3", b"old +3"),
    "a negative size": BODY.replace(b"old 3", b"old -3"),
    "other digits": BODY.replace(b"old 3", "old ٣".encode()),
    "no digits": BODY.replace(b"old 3", b"old "),
    "a size beyond all logs": BODY.replace(b"old 3", b"old %d" % (limits.TREE_SIZE_MAX + 1)),
    "a size of many digits": BODY.replace(b"old 3", b"old " + b"9" * 5_000),
    "lines that end in CR": BODY.replace(b"\n", b"\r\n"),
    "no empty line": BODY.replace(b"\n\nose", b"\nose"),
    "an empty line more": BODY.replace(b"\n\nose", b"\n\n\nose"),
    "a hash too many": BODY.replace(
        b"old 3\n", b"old 3\n" + HASH * (limits.PROOF_HASHES_MAX + 1 - len(proof(3, 7)))
    ),
    "a short hash": BODY.replace(b"old 3\n", b"old 3\nAAAA\n"),
    "a hash that is no base64": BODY.replace(b"old 3\n", b"old 3\n====\n"),
    "a hash in other base64": BODY.replace(b"old 3\n", b"old 3\n" + HASH.replace(b"AA=", b"AB=")),
    "a space after a hash": BODY.replace(b"=\n", b"= \n", 1),
    "only the proof": BODY.partition(b"\n\n")[0] + b"\n\n",
    "no signatures": BODY.rpartition(b"\n\n")[0] + b"\n",
    "an extension line": BODY.replace(b"\n\n\xe2", b"\nmore\n\n\xe2"),
    "a tab in the note": BODY.replace(ORIGIN.encode(), b"ose\tmissouri", 1),
    "something before": b"\n" + BODY,
}


@pytest.mark.parametrize("body", MISREAD.values(), ids=MISREAD.keys())
def test_no_other_form_is_read(body: bytes) -> None:
    assert body != BODY
    with pytest.raises(Malformed):
        AddCheckpoint.from_body(body)


def test_a_body_over_the_limit_is_not_looked_at() -> None:
    with pytest.raises(TooLarge):
        AddCheckpoint.from_body(b"\xff" * (limits.ADD_CHECKPOINT_BYTES_MAX + 1))


# Who signed

LINE: Final = signed(7).rpartition("\n\n")[2]
UNTRUSTED: Final[dict[str, str]] = {
    "another key": signed(7, key=OTHER),
    "another checkpoint's signature": signed(6).rpartition("\n\n")[0] + f"\n\n{LINE}",
    "another name": signed(7).replace(f"— {ORIGIN}", "— ose-california-001"),
    "a line that is no signature": signed(7).replace(LINE, "signed by me\n"),
    "no line": signed(7).replace(LINE, ""),
    "no newline at the end": signed(7).removesuffix("\n"),
    "too many lines": signed(7) + LINE * limits.NOTE_SIGNATURES_MAX,
    "a good line and a bad one": signed(7) + "x\n",
}


@pytest.mark.parametrize("text", UNTRUSTED.values(), ids=UNTRUSTED.keys())
def test_only_the_logs_own_signature_counts(text: str) -> None:
    request = AddCheckpoint.from_body(AddCheckpoint.of(0, [], text).to_body())
    with pytest.raises(UntrustedCheckpoint):
        check_signed(request, KEY.public)


def test_lines_of_others_are_passed_over() -> None:
    others = note.NoteSignature("w", bytes(4), bytes(64)).to_text()
    check_signed(AddCheckpoint.of(0, [], signed(7) + others), KEY.public)


# What is decided


@given(st.integers(0, 40), st.data())
def test_what_extends_the_copy_is_cosigned(old: int, data: st.DataObject) -> None:
    new = data.draw(st.integers(old, 40))
    verdict = decide(asked(old, new), known(old, new))
    assert (verdict.refusal, verdict.is_fork) == (None, False)


@given(st.integers(0, 40), st.integers(0, 40), st.data())
def test_another_old_size_is_told_the_right_one(old: int, size: int, data: st.DataObject) -> None:
    new = data.draw(st.integers(old, 40))
    refusal = decide(asked(old, new), known(size, new)).refusal
    if old == size:
        assert refusal is None
    else:
        assert type(refusal) is StaleCheckpoint
        assert refusal.more == {"size": size}


def test_what_is_not_stored_yet_is_told_apart() -> None:
    """The right size, and still no cosignature: the records between are missing."""
    verdict = decide(asked(3, 7), known(3))
    assert type(verdict.refusal) is StaleCheckpoint
    assert verdict.refusal.more == {"size": 3, "retry_after_s": RETRY_S}
    assert not verdict.is_fork


Case = tuple[type[PeerError], AddCheckpoint, Known, bool]
FORK: Final = bytes(31) + b"f"
CASES: Final[dict[str, Callable[[], Case]]] = {
    "an old size above the checkpoint's": lambda: (
        Malformed,
        AddCheckpoint.of(8, [], signed(7)),
        known(8, 7),
        False,
    ),
    "a smaller checkpoint": lambda: (StaleCheckpoint, asked(3, 5), known(7, 5), False),
    "no proof": lambda: (BadProof, AddCheckpoint.of(3, [], signed(7)), known(3, 7), False),
    "a proof from nothing": lambda: (
        BadProof,
        AddCheckpoint.of(0, proof(3, 7), signed(7)),
        known(0, 7),
        False,
    ),
    "another size's proof": lambda: (
        BadProof,
        AddCheckpoint.of(3, proof(2, 7), signed(7)),
        known(3, 7),
        False,
    ),
    "a proof where none is due": lambda: (
        BadProof,
        AddCheckpoint.of(7, [bytes(32)], signed(7)),
        known(7, 7),
        False,
    ),
    "no records, and a root": lambda: (
        BadProof,
        AddCheckpoint.of(0, [], signed(0, FORK)),
        known(0, 0),
        True,
    ),
    "a second root of the size that is cosigned": lambda: (
        BadProof,
        AddCheckpoint.of(7, [], signed(7, FORK)),
        known(7, 7),
        True,
    ),
    "a second root of a size that is stored": lambda: (
        BadProof,
        AddCheckpoint.of(0, [], signed(7, FORK)),
        known(0, 7),
        True,
    ),
    "a second root of a size below": lambda: (
        StaleCheckpoint,
        AddCheckpoint.of(0, [], signed(5, FORK)),
        known(7, 5),
        True,
    ),
    "another log ahead of the copy": lambda: (
        BadProof,
        AddCheckpoint.of(3, proof(3, 7), signed(7, FORK)),
        known(3),
        False,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_is_refused(case: Callable[[], Case]) -> None:
    kind, request, stored, is_fork = case()
    check_signed(request, KEY.public)
    verdict = decide(request, stored)
    assert (type(verdict.refusal), verdict.is_fork) == (kind, is_fork)
