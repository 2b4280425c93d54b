"""Proof of misbehaviour: it holds with no network, and nobody honest can be accused by one."""

from typing import Any

import msgspec
import pytest

from edge.core import checkpoint, council, misbehaviour, note, records, trade
from edge.core.council import Certificate, Proposal, Step, Value, Vote
from edge.core.misbehaviour import Misbehaviour
from edge.core.note import VerifierKey
from edge.core.receipt import Evidence
from edge.errors import BadProof, InvalidInput, PeerError
from tests.unit.examples import FOUR, KEYS, MINUTE, NETWORK, TERMS, A, B, C, D, evidence

replace = msgspec.structs.replace
FOUR_TERMS = replace(TERMS, seats=FOUR)
TERMS_BYTES = trade.encode_terms(FOUR_TERMS)
SUBJECT = trade.subject_of(TERMS_BYTES)
SIGNATURES = (KEYS[A].sign(TERMS_BYTES), KEYS[B].sign(TERMS_BYTES))
RAW = msgspec.Raw(TERMS_BYTES)
HOLD = records.HoldRecord(MINUTE, RAW, *SIGNATURES, bytes(32))
NO_HOLD = records.NoHoldRecord(MINUTE, RAW, *SIGNATURES)


def vote(village: str, value: Value | None, round_: int = 0, step: Step = "prevote") -> Vote:
    signed = council.vote_bytes(NETWORK, SUBJECT, round_, step, value)
    return Vote(village, round_, step, value, KEYS[village].sign(signed))


def proposal(village: str, value: Value, round_: int, valid_round: int = -1) -> Proposal:
    signed = council.proposal_bytes(NETWORK, SUBJECT, round_, value, valid_round)
    return Proposal(village, round_, value, valid_round, KEYS[village].sign(signed))


def certificate(value: Value, *villages: str) -> Certificate:
    signed = council.vote_bytes(NETWORK, SUBJECT, 0, "precommit", value)
    return Certificate(value, 0, tuple((each, KEYS[each].sign(signed)) for each in villages))


def settle(value: Value, *villages: str) -> Evidence:
    return evidence(A, records.SettleRecord(MINUTE, SUBJECT, certificate(value, *villages)))


def of(*found: Evidence) -> Misbehaviour:
    return misbehaviour.of_records(TERMS_BYTES, SIGNATURES, found)


PROOFS = {
    "two votes": misbehaviour.of_words(TERMS_BYTES, SIGNATURES, vote(D, "COMMIT"), vote(D, None)),
    "two proposals": misbehaviour.of_words(
        TERMS_BYTES, SIGNATURES, proposal(C, "COMMIT", 2), proposal(C, "COMMIT", 2, 1)
    ),
    "hold and no-hold": of(evidence(A, HOLD), evidence(A, NO_HOLD)),
    "end without certificate": of(settle("COMMIT", A, C)),
}


def holds(proof: bytes) -> bool:
    try:
        misbehaviour.verify(misbehaviour.decode(proof))
    except PeerError:
        return False
    return True


@pytest.mark.parametrize("what", PROOFS)
def test_a_proof_holds(what: str) -> None:
    proof = misbehaviour.encode(PROOFS[what])
    found = misbehaviour.verify(misbehaviour.decode(proof))
    who = PROOFS[what].village
    assert found == misbehaviour.Finding(SUBJECT, who, KEYS[who].public, what)  # type: ignore[arg-type]


@pytest.mark.parametrize("what", PROOFS)
def test_each_changed_byte_spoils_it(what: str) -> None:
    proof = misbehaviour.encode(PROOFS[what])
    for at in range(0, len(proof), 3):
        change = (0x01, 0x20, 0x80)[at % 3]
        assert not holds(proof[:at] + bytes([proof[at] ^ change]) + proof[at + 1 :]), at


def test_a_settle_by_an_abort_is_one_as_well() -> None:
    found = misbehaviour.verify(of(settle("ABORT", A, B, C)))
    assert found.what == "end without certificate"


HONEST: dict[str, Misbehaviour] = {
    "the same twice": replace(PROOFS["two votes"], votes=(vote(D, None), vote(D, None))),
    "in two rounds": replace(PROOFS["two votes"], votes=(vote(D, "COMMIT"), vote(D, "ABORT", 1))),
    "in two steps": replace(
        PROOFS["two votes"], votes=(vote(D, "COMMIT"), vote(D, "ABORT", 0, "precommit"))
    ),
    "of two seats": replace(PROOFS["two votes"], votes=(vote(D, "COMMIT"), vote(C, None))),
    "of another seat": replace(PROOFS["two votes"], village=C),
    "of no seat": replace(PROOFS["two votes"], village="ose-elsewhere-001"),
    "signed by somebody else": replace(
        PROOFS["two votes"], votes=(vote(D, "COMMIT"), replace(vote(C, None), village=D))
    ),
    "a proposal out of turn": replace(
        PROOFS["two proposals"],
        votes=(),
        proposals=(proposal(C, "COMMIT", 1), proposal(C, "ABORT", 1)),
    ),
    "two kinds": replace(PROOFS["two votes"], evidence=(settle("COMMIT", A),)),
    "one vote": replace(PROOFS["two votes"], votes=(vote(D, "COMMIT"),)),
    "nothing": replace(PROOFS["two votes"], votes=()),
    "one hold twice": of(evidence(A, HOLD), evidence(A, HOLD)),
    "of two logs": of(evidence(A, HOLD), evidence(B, HOLD)),
    "the acceptor says no-hold": of(evidence(B, HOLD), evidence(B, NO_HOLD)),
    "a good certificate": of(settle("COMMIT", A, B, C)),
    "by a release": of(
        evidence(A, records.ReleaseRecord(MINUTE, SUBJECT, certificate("ABORT", A, C, D)))
    ),
    "of another trade": of(
        evidence(A, records.SettleRecord(MINUTE, bytes(32), certificate("COMMIT")))
    ),
    "of no party": of(evidence(C, records.SettleRecord(MINUTE, SUBJECT, certificate("COMMIT")))),
    "a hold alone": of(evidence(A, HOLD)),
    "of another form": replace(PROOFS["two votes"], format="village-edge/misbehaviour/v2"),
    "terms that one has not signed": replace(PROOFS["two votes"], to_signature=SIGNATURES[0]),
}


@pytest.mark.parametrize("what", HONEST)
def test_nothing_else_is_a_proof(what: str) -> None:
    with pytest.raises(BadProof):
        misbehaviour.verify(HONEST[what])


def test_a_record_counts_by_the_signature_of_its_own_village() -> None:
    """Whoever else has cosigned it or not; and nobody can write another's log."""
    real = evidence(A, HOLD)
    head = checkpoint.open_checkpoint(real.checkpoint, A, KEYS[A].public)
    forged = replace(real, checkpoint=checkpoint.sign_checkpoint(head, KEYS[B]))
    assert misbehaviour.verify(of(real, evidence(A, NO_HOLD, B, C))).village == A
    with pytest.raises(BadProof):
        misbehaviour.verify(of(forged, evidence(A, NO_HOLD)))


# Files


def test_a_file_of_several() -> None:
    file = misbehaviour.encode_list([misbehaviour.encode(each) for each in PROOFS.values()])
    assert misbehaviour.is_list(file)
    found = misbehaviour.verify_list(file)
    assert [each.what for each in found] == list(PROOFS)


def test_keys_are_compared_with_those_that_the_proofs_are_of() -> None:
    found = [misbehaviour.verify(each) for each in PROOFS.values()]
    keys = [VerifierKey(each, note.ED25519, KEYS[each].public) for each in (A, B, C, D)]
    misbehaviour.check_keys(found, keys)
    misbehaviour.check_keys(found[:1], keys[3:])
    with pytest.raises(BadProof, match=f"the key of {D} is not given"):
        misbehaviour.check_keys(found, keys[:3])
    with pytest.raises(BadProof, match=f"not of the {D} of that key"):
        misbehaviour.check_keys(found, [*keys[:3], replace(keys[3], public=keys[0].public)])


@pytest.mark.parametrize("file", [b"[", b"[1]", b"[{}]", b"[" + b"\xff" * 9, b"[]" * 2])
def test_a_file_that_is_none(file: bytes) -> None:
    with pytest.raises(InvalidInput):
        misbehaviour.verify_list(file)


def test_a_file_of_none_accuses_nobody() -> None:
    assert misbehaviour.verify_list(misbehaviour.encode_list([])) == []
    assert misbehaviour.verify_list(b"[]") == []


def test_a_file_with_one_that_does_not_hold() -> None:
    bad: list[Any] = [PROOFS["two votes"], HONEST["one vote"]]
    with pytest.raises(BadProof):
        misbehaviour.verify_list(misbehaviour.encode_list([misbehaviour.encode(e) for e in bad]))
    proof = misbehaviour.encode(PROOFS["two votes"])
    with pytest.raises(InvalidInput, match="at most 64 proofs"):
        misbehaviour.verify_list(misbehaviour.encode_list([proof] * 65))
