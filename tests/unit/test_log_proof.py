"""Proofs of a record in a log: the upstream vectors, one form, and nothing else that holds."""

import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from edge.core import checkpoint, crypto, limits, log_proof, merkle, note
from edge.core.checkpoint import Checkpoint
from edge.core.log_proof import LogProof
from edge.core.merkle import Node
from edge.core.note import VerifierKey
from edge.errors import BadProof, Malformed
from tests.unit.examples import KEYS, A, B, C

VECTORS = Path(__file__).parents[1] / "vectors"
VECTOR: dict[str, Any] = json.loads((VECTORS / "tlog_proof.json").read_text("utf-8"))
replace = msgspec.structs.replace

RECORDS = [b"record %d" % number for number in range(11)]
LEAVES = [merkle.leaf_hash(record) for record in RECORDS]
LOG = VerifierKey(A, note.ED25519, KEYS[A].public)
WITNESSES = [VerifierKey(village, note.COSIGNATURE_V1, KEYS[village].public) for village in (B, C)]
TIMES_S = {B: 1_760_000_000, C: 1_760_000_001}


def head_of(size: int) -> Checkpoint:
    edge, _ = merkle.extend(0, [], LEAVES[:size])
    return Checkpoint(A, size, merkle.root_from_edge(edge))


def signed(size: int, *villages: str) -> str:
    head = head_of(size)
    lines = [checkpoint.cosign(head, each, KEYS[each], TIMES_S[each]) for each in villages]
    return checkpoint.with_signatures(checkpoint.sign_checkpoint(head, KEYS[A]), lines)


def proof_of(index: int, size: int, *villages: str) -> LogProof:
    _, nodes = merkle.extend(0, [], LEAVES[:size])
    hashes = {Node(level, place): found for level, place, found in nodes}
    hashes |= {Node(0, place): found for place, found in enumerate(LEAVES)}
    path = tuple(merkle.inclusion_proof(index, size, hashes))
    return LogProof(index, path, signed(size, *villages), RECORDS[index])


PROOF = proof_of(4, 11, B, C)
TEXT = PROOF.to_text()


def check(proof: LogProof, record: bytes | None = None, log: VerifierKey = LOG) -> Any:
    return log_proof.verify(proof, RECORDS[4] if record is None else record, log, WITNESSES)


def refused(proof: LogProof, record: bytes | None = None, log: VerifierKey = LOG) -> str:
    with pytest.raises(BadProof) as caught:
        check(proof, record, log)
    return caught.value.detail


# Vectors


@pytest.mark.parametrize("vector", VECTOR["ok"], ids=lambda vector: str(vector["index"]))
def test_vector(vector: dict[str, Any]) -> None:
    extra = vector.get("extra_utf8")
    made = LogProof(
        vector["index"],
        tuple(base64.b64decode(each) for each in vector["hashes_b64"]),
        vector["checkpoint"],
        extra.encode() if extra else None,
    )
    assert made.to_text() == vector["want"]
    assert LogProof.from_text(vector["want"]) == made


@pytest.mark.parametrize("text", VECTOR["bad"])
def test_bad_vector(text: str) -> None:
    with pytest.raises(Malformed):
        LogProof.from_text(text)


# Reading


HASH = note.to_base64(bytes(32))
HEAD = log_proof.HEADER


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        HEAD,
        f"{HEAD}\n",
        f"{HEAD}\n\n",
        f"{HEAD}\nindex 0\n\n",
        f"{HEAD}\nindex 0\ncheckpoint\n",
        f"{HEAD}\n\nindex 0\n\ncheckpoint\n",
        f" {HEAD}\nindex 0\n\ncheckpoint\n",
        f"\ufeff{HEAD}\nindex 0\n\ncheckpoint\n",
        f"{HEAD}\r\nindex 0\r\n\r\ncheckpoint\r\n",
        f"{HEAD}\nindex 00\n\ncheckpoint\n",
        f"{HEAD}\nindex 01\n\ncheckpoint\n",
        f"{HEAD}\nindex +1\n\ncheckpoint\n",
        f"{HEAD}\nindex 1_0\n\ncheckpoint\n",
        f"{HEAD}\nindex ٣\n\ncheckpoint\n",
        f"{HEAD}\nindex  1\n\ncheckpoint\n",
        f"{HEAD}\nindex 1 \n\ncheckpoint\n",
        f"{HEAD}\nindex {limits.TREE_SIZE_MAX + 1}\n\ncheckpoint\n",
        f"{HEAD}\nindex {10**30}\n\ncheckpoint\n",
        f"{HEAD}\nindex 0\nindex 0\n\ncheckpoint\n",
        f"{HEAD}\nextra \nindex 0\n\ncheckpoint\n",
        f"{HEAD}\nextra\nindex 0\n\ncheckpoint\n",
        f"{HEAD}\nextra AA==\nextra AA==\nindex 0\n\ncheckpoint\n",
        f"{HEAD}\nextra AB==\nindex 0\n\ncheckpoint\n",
        f"{HEAD}\nextra AA\nindex 0\n\ncheckpoint\n",
        f"{HEAD}\nindex 0\nextra AA==\n\ncheckpoint\n",
        f"{HEAD}\nindex 0\n{HASH[:-4]}\n\ncheckpoint\n",
        f"{HEAD}\nindex 0\n{note.to_base64(bytes(33))}\n\ncheckpoint\n",
        f"{HEAD}\nindex 0\n{HASH.replace('A=', 'B=')}\n\ncheckpoint\n",
        f"{HEAD}\nindex 0\n{HASH} \n\ncheckpoint\n",
        f"{HEAD}\nindex 0\n{(HASH + chr(10)) * 64}\ncheckpoint\n",
        f"{HEAD}\nindex 0\n{(HASH + chr(10)) * 1_000_000}\ncheckpoint\n",
        f"{HEAD}\nindex 0\n\ncheck\x00point\n",
        f"{HEAD}\nindex 0\n\ncheck\ud800point\n",
        f"{HEAD}\nindex 0\n\n{'x' * (limits.NOTE_BYTES_MAX + 1)}",
        f"{HEAD}\nextra {'A' * limits.LOG_PROOF_BYTES_MAX}\nindex 0\n\ncheckpoint\n",
        f"{HEAD[:-1]}2\nindex 0\n\ncheckpoint\n",
    ],
    ids=lambda text: repr(text)[:60],
)
def test_no_proof(text: str) -> None:
    with pytest.raises(Malformed):
        LogProof.from_text(text)


def test_the_longest_is_read() -> None:
    most = LogProof(
        limits.TREE_SIZE_MAX,
        (bytes(32),) * limits.PROOF_HASHES_MAX,
        "x" * limits.NOTE_BYTES_MAX,
        bytes(limits.RECORD_BYTES_MAX),
    )
    assert LogProof.from_text(most.to_text()) == most


proofs = st.builds(
    LogProof,
    st.integers(0, limits.TREE_SIZE_MAX),
    st.lists(st.binary(min_size=32, max_size=32), max_size=5).map(tuple),
    st.text(
        st.characters(exclude_categories=("Cs", "Cc")) | st.just("\n"), min_size=1, max_size=40
    ).map(lambda text: f"{text}\n"),
    st.none() | st.binary(min_size=1, max_size=40),
)


@given(proofs)
def test_a_proof_comes_back_from_its_text(proof: LogProof) -> None:
    assert LogProof.from_text(proof.to_text()) == proof


@given(
    st.text()
    | st.lists(
        st.sampled_from([HEAD, "\n", "\n\n", "index ", "extra ", HASH, "0", "AA==", "x", " "])
    ).map("".join)
)
@example(f"{HEAD}\n" + "index 0\n" * 100)
def test_any_text_is_the_proof_that_it_prints_as_or_malformed(text: str) -> None:
    for given_text in (text, f"{HEAD}\n{text}", f"{HEAD}\nindex 0\n{text}"):
        with suppress(Malformed):
            assert LogProof.from_text(given_text).to_text() == given_text


# Verifying


def test_a_proof_holds_without_a_network() -> None:
    found = check(LogProof.from_text(TEXT))
    assert found.head == head_of(11)
    assert found.cosigned == tuple(TIMES_S.items())
    assert found.unchecked == ()


@pytest.mark.parametrize("size", range(1, 12))
def test_each_record_of_each_size(size: int) -> None:
    for index in range(size):
        proof = proof_of(index, size, B)
        found = log_proof.verify(proof, RECORDS[index], LOG, WITNESSES[:1])
        assert (found.head.size, found.cosigned) == (size, ((B, TIMES_S[B]),))
        others = [record for record in RECORDS if record != RECORDS[index]]
        for other in others:
            with pytest.raises(BadProof):
                log_proof.verify(proof, other, LOG, WITNESSES[:1])


def test_who_was_not_asked_for_is_named_and_not_believed() -> None:
    found = log_proof.verify(PROOF, RECORDS[4], LOG, ())
    assert (found.cosigned, found.unchecked) == ((), (B, C))
    forged = note.NoteSignature(C, note.key_id(C, note.COSIGNATURE_V1, bytes(32)), bytes(72))
    more = replace(PROOF, signed=checkpoint.with_signatures(PROOF.signed, [forged]))
    assert check(more).unchecked == (C,)


def test_the_key_of_a_village_is_enough() -> None:
    """Its one key makes both kinds of signature."""
    keys = [VerifierKey(village, note.ED25519, KEYS[village].public) for village in (B, C)]
    assert log_proof.verify(PROOF, RECORDS[4], LOG, [*keys, *WITNESSES]) == check(PROOF)


def test_each_witness_must_have_cosigned() -> None:
    assert C in refused(proof_of(4, 11, B))
    assert B in refused(proof_of(4, 11))
    stranger = VerifierKey(C, note.COSIGNATURE_V1, crypto.SecretKey(bytes(32)).public)
    with pytest.raises(BadProof, match=C):
        log_proof.verify(PROOF, RECORDS[4], LOG, [*WITNESSES, stranger])
    with pytest.raises(BadProof, match="its own log"):
        log_proof.verify(PROOF, RECORDS[4], LOG, [LOG])


@pytest.mark.parametrize(
    "proof",
    [
        replace(PROOF, index=3),
        replace(PROOF, index=11),
        replace(PROOF, index=limits.TREE_SIZE_MAX),
        replace(PROOF, hashes=PROOF.hashes[:-1]),
        replace(PROOF, hashes=(*PROOF.hashes, bytes(32))),
        replace(PROOF, hashes=PROOF.hashes[::-1]),
        replace(PROOF, hashes=()),
        replace(PROOF, signed=signed(10, B, C)),
        replace(PROOF, signed="checkpoint\n"),
        replace(PROOF, signed=head_of(11).to_text()),
        replace(PROOF, signed=PROOF.signed.replace(A, C)),
        replace(PROOF, signed=PROOF.signed.replace("\n11\n", "\n12\n")),
        replace(PROOF, signed=PROOF.signed.replace("\n11\n", "\n011\n")),
        replace(PROOF, signed=PROOF.signed + PROOF.signed.splitlines(keepends=True)[-1] * 40),
    ],
)
def test_what_does_not_hold(proof: LogProof) -> None:
    refused(proof)


def test_the_right_name_with_another_key() -> None:
    other = crypto.SecretKey(bytes(32))
    assert "no known key" in refused(PROOF, log=VerifierKey(A, note.ED25519, other.public))
    forged = checkpoint.sign_checkpoint(head_of(11), other)
    assert "no known key" in refused(replace(PROOF, signed=forged))
    own_id = note.key_id(A, note.ED25519, KEYS[A].public)
    line = note.NoteSignature(A, own_id, other.sign(head_of(11).to_text().encode()))
    taken = note.Note(head_of(11).to_text(), (line,)).to_text()
    assert "fails" in refused(replace(PROOF, signed=taken))
    assert "another log" in refused(PROOF, log=VerifierKey(B, note.ED25519, KEYS[A].public))


def test_one_bad_line_of_a_known_key_is_enough() -> None:
    """C2SP signed-note: a signature of a known key that fails refuses the whole note."""
    good = note.Note.from_text(PROOF.signed)
    bad = replace(good.signatures[-1], payload=good.signatures[-1].payload[:-1] + b"\x00")
    for lines in ((*good.signatures, bad), (good.signatures[0], bad, *good.signatures[1:])):
        text = note.Note(good.text, lines).to_text()
        assert C in refused(replace(PROOF, signed=text))
    twice = note.Note(good.text, (*good.signatures, good.signatures[-1])).to_text()
    assert check(replace(PROOF, signed=twice)) == check(PROOF)


@given(st.integers(0, len(TEXT) - 1), st.data())
def test_another_text_holds_for_nothing(place: int, data: st.DataObject) -> None:
    added = data.draw(st.sampled_from("\n +=—A1\0") | st.characters() | st.just(""))
    text = TEXT[:place] + added + TEXT[place + data.draw(st.integers(0, 1)) :]
    assume(text != TEXT)
    try:
        proof = LogProof.from_text(text)
    except Malformed:
        return
    refused(proof, proof.extra if proof.extra != RECORDS[4] else None)
