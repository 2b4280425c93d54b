"""Receipts: proof of a trade that holds with no network, and nothing else that does."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import canonical, checkpoint, council, note, receipt, records, trade
from edge.core.council import Seat
from edge.core.note import VerifierKey
from edge.core.receipt import Evidence, Receipt
from edge.errors import BadProof, BadSignature, InvalidInput, Malformed
from tests.unit.examples import (
    ABORTED,
    FOUR,
    HOLD,
    KEYS,
    NETWORK,
    NO_HOLD,
    RECORDS,
    SEATS,
    SETTLED,
    TERMS,
    A,
    B,
    C,
    D,
    certificate,
    evidence,
    other_forms,
)

replace = msgspec.structs.replace
FILES = {"settled": receipt.encode(SETTLED), "aborted": receipt.encode(ABORTED)}


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest) -> bytes:
    return FILES[request.param]


def holds(file: bytes) -> bool:
    try:
        receipt.verify(receipt.decode(file))
    except (InvalidInput, BadProof):
        return False
    return True


def test_a_receipt_holds(file: bytes) -> None:
    assert file.endswith(b"}\n")
    assert receipt.verify(receipt.decode(file)) == TERMS
    assert holds(file.removesuffix(b"\n"))
    assert len(file) < 8_192


def log_key(village: str, of: str = "") -> VerifierKey:
    return VerifierKey(village, note.ED25519, KEYS[of or village].public)


def test_keys_are_compared_with_those_of_the_terms() -> None:
    """A receipt that holds, made by somebody with keys of his own, is not the real villages'."""
    four = replace(TERMS, seats=FOUR)
    receipt.check_keys(TERMS, [log_key(A), log_key(B)])
    receipt.check_keys(four, [log_key(D), log_key(B), log_key(A)])
    for keys, why in (
        ([log_key(A)], f"the key of {B}, a party, is not given"),
        ([log_key(B)], f"the key of {A}, a party, is not given"),
        ([log_key(A, C), log_key(B)], f"not of the {A} of that key"),
        ([log_key(A), log_key(B), log_key(D, A)], f"not of the {D} of that key"),
        ([log_key(A), log_key(A, B), log_key(B)], f"not of the {A} of that key"),
    ):
        with pytest.raises(BadProof, match=why):
            receipt.check_keys(four, keys)
    with pytest.raises(BadProof, match=f"{C} has no part in this trade"):
        receipt.check_keys(TERMS, [log_key(A), log_key(B), log_key(C)])


def test_a_receipt_names_no_person(file: bytes) -> None:
    assert b"Alice" not in file
    assert b"Bob" not in file


def test_each_changed_byte_spoils_it(file: bytes) -> None:
    """Wherever it is changed: in a signature, a name, a proof, between the fields."""
    for at in range(len(file) - 1):
        change = (0x01, 0x20, 0x80)[at % 3]
        assert not holds(file[:at] + bytes([file[at] ^ change]) + file[at + 1 :]), at


def test_each_cut_spoils_it(file: bytes) -> None:
    for end in range(0, len(file) - 1, 7):
        assert not holds(file[:end])


def test_it_has_one_form(file: bytes) -> None:
    for form in other_forms(file.removesuffix(b"\n")):
        if form != file:
            assert not holds(form)


@given(st.data())
def test_parts_of_two_receipts_make_none(data: st.DataObject) -> None:
    fields: list[dict[str, Any]] = [msgspec.structs.asdict(each) for each in (SETTLED, ABORTED)]
    chosen = {name: data.draw(st.sampled_from([0, 1]), name) for name in fields[0]}
    mixed = Receipt(**{name: fields[which][name] for name, which in chosen.items()})
    if mixed in (SETTLED, ABORTED):
        receipt.verify(mixed)
        return
    with pytest.raises(BadProof):
        receipt.verify(mixed)


def test_what_is_too_long_is_not_looked_at() -> None:
    with pytest.raises(InvalidInput, match="the receipt is over 262144 bytes"):
        receipt.decode(b"[" * (receipt.RECEIPT_BYTES_MAX + 1))


OF_A, OF_B = SETTLED.evidence
OTHER_TERMS = replace(TERMS, nonce=bytes(16))
OTHER_BYTES = trade.encode_terms(OTHER_TERMS)
OTHER_HOLD = records.HoldRecord(
    1, msgspec.Raw(OTHER_BYTES), KEYS[A].sign(OTHER_BYTES), KEYS[B].sign(OTHER_BYTES), bytes(32)
)
BAD: dict[str, tuple[Receipt, str]] = {
    "another format": (replace(SETTLED, format="village-edge/receipt/v2"), "not of the form"),
    "other terms": (replace(SETTLED, terms=msgspec.Raw(OTHER_BYTES)), "signature of ose-missouri"),
    "no terms": (replace(SETTLED, terms=msgspec.Raw(b"{}")), "terms: "),
    "swapped signatures": (
        replace(
            SETTLED,
            from_signature=SETTLED.to_signature,
            to_signature=SETTLED.from_signature,
        ),
        "the signature of ose-missouri-001 over the terms does not hold",
    ),
    "a certificate of another value": (
        replace(SETTLED, certificate=certificate("ABORT")),
        "an aborted trade's receipt shows the proposer's no-hold",
    ),
    "a certificate of too few": (
        replace(
            SETTLED,
            certificate=replace(SETTLED.certificate, precommits=SETTLED.certificate.precommits[:1]),
        ),
        "has 1 votes of 2 needed",
    ),
    "no evidence": (replace(SETTLED, evidence=()), "shows the holds of both villages"),
    "one side's evidence": (replace(SETTLED, evidence=(OF_A,)), "shows the holds of both villages"),
    "evidence twice": (
        replace(SETTLED, evidence=(OF_A, OF_A, OF_B)),
        f"the receipt has two statements of {A}",
    ),
    "a crowd of evidence": (
        replace(SETTLED, evidence=(OF_A, OF_B) * 4),
        "more evidence than a council has seats",
    ),
    "evidence of no seat": (
        replace(SETTLED, evidence=(OF_A, evidence(C, HOLD, A))),
        f"{C} has no seat",
    ),
    "no-hold of the acceptor": (
        replace(ABORTED, evidence=(OF_A, evidence(B, NO_HOLD, A))),
        "only the proposer says no-hold",
    ),
    "no-hold of the proposer": (
        replace(SETTLED, evidence=(evidence(A, NO_HOLD, B), OF_B)),
        "a settled trade's receipt shows the holds of both villages",
    ),
    "another record": (
        replace(SETTLED, evidence=(evidence(A, RECORDS[1], B), OF_B)),
        "the evidence of ose-missouri-001 is not a hold or no-hold",
    ),
    "another trade's hold": (
        replace(SETTLED, evidence=(evidence(A, OTHER_HOLD, B), OF_B)),
        f"the evidence of {A} is of another trade",
    ),
    "not cosigned": (
        replace(SETTLED, evidence=(evidence(A, HOLD), OF_B)),
        f"1 of 2 seats have cosigned the log of {A}",
    ),
    "cosigned by itself": (
        replace(SETTLED, evidence=(evidence(A, HOLD, A), OF_B)),
        f"1 of 2 seats have cosigned the log of {A}",
    ),
    "cosigned by a stranger": (
        replace(SETTLED, evidence=(evidence(A, HOLD, C, D), OF_B)),
        f"1 of 2 seats have cosigned the log of {A}",
    ),
    "another place": (
        replace(SETTLED, evidence=(replace(OF_A, index=1), OF_B)),
        "the leaf is not in this tree",
    ),
    "no such place": (
        replace(SETTLED, evidence=(replace(OF_A, index=4), OF_B)),
        "no such leaf in a tree of this size",
    ),
    "a shorter proof": (
        replace(SETTLED, evidence=(replace(OF_A, proof=OF_A.proof[:-1]), OF_B)),
        "the proof has the wrong length",
    ),
    "another village's checkpoint": (
        replace(SETTLED, evidence=(replace(OF_A, checkpoint=OF_B.checkpoint), OF_B)),
        "the checkpoint is of another log",
    ),
    "no checkpoint": (
        replace(SETTLED, evidence=(replace(OF_A, checkpoint=""), OF_B)),
        "the receipt does not hold: ",
    ),
}


@pytest.mark.parametrize(("bad", "what"), BAD.values(), ids=BAD)
def test_what_does_not_hold_is_named(bad: Receipt, what: str) -> None:
    with pytest.raises(BadProof, match=what):
        receipt.verify(receipt.decode(receipt.encode(bad)))


def test_a_forged_cosignature_spoils_evidence() -> None:
    """Even where enough others have cosigned."""
    proof = evidence(A, HOLD, B, C, D)
    receipt.verify_evidence(proof, FOUR)
    signed = note.Note.from_text(proof.checkpoint)
    last = signed.signatures[-1]
    forged = replace(last, payload=last.payload[:-1] + bytes([last.payload[-1] ^ 1]))
    text = replace(signed, signatures=(*signed.signatures[:-1], forged)).to_text()
    with pytest.raises(BadSignature, match=f"the cosignature of {D} fails"):
        receipt.verify_evidence(replace(proof, checkpoint=text), FOUR)


@pytest.mark.parametrize(
    ("cosigners", "enough"),
    [((), False), ((B,), False), ((A, B), False), ((B, C), True), ((B, C, D), True)],
)
def test_a_quorum_of_four_is_three_with_the_owner(cosigners: tuple[str, ...], enough: bool) -> None:
    proof = evidence(A, HOLD, *cosigners)
    if enough:
        assert receipt.verify_evidence(proof, FOUR) == records.encode(HOLD)
        return
    with pytest.raises(BadProof, match="of 3 seats have cosigned"):
        receipt.verify_evidence(proof, FOUR)


def test_a_cosignature_counts_once() -> None:
    proof = evidence(A, HOLD, B)
    signed = note.Note.from_text(proof.checkpoint)
    head = checkpoint.open_checkpoint(proof.checkpoint, A, KEYS[A].public)
    again = checkpoint.cosign(head, B, KEYS[B], 1_760_000_001)
    text = replace(signed, signatures=(*signed.signatures, again)).to_text()
    with pytest.raises(BadProof, match="2 of 3 seats"):
        receipt.verify_evidence(replace(proof, checkpoint=text), FOUR)


def test_another_key_in_the_seat_is_another_seat() -> None:
    seats = (SEATS[0], Seat(B, KEYS[C].public))
    with pytest.raises(BadProof, match="1 of 2 seats"):
        receipt.verify_evidence(OF_A, seats)
    with pytest.raises((BadSignature, Malformed)):
        receipt.verify_evidence(OF_B, seats)


def test_a_trade_of_four_seats() -> None:
    """The same file and the same check serve a council of more than the two parties."""
    terms = replace(TERMS, seats=FOUR)
    raw = trade.encode_terms(terms)
    subject = trade.subject_of(raw)
    signatures = (KEYS[A].sign(raw), KEYS[B].sign(raw))
    hold = records.HoldRecord(1, msgspec.Raw(raw), *signatures, bytes(32))
    votes = [council.precommit(KEYS[v], v, NETWORK, subject, "COMMIT") for v in (A, C, D)]
    decided = council.certificate_of(votes, FOUR)
    assert decided is not None
    proofs: tuple[Evidence, ...] = (evidence(A, hold, C, D), evidence(B, hold, A, D))
    made = Receipt(receipt.FORMAT, msgspec.Raw(raw), *signatures, decided, proofs)
    assert receipt.verify(receipt.decode(receipt.encode(made))) == terms
    fewer = replace(made, evidence=(evidence(A, hold, C), proofs[1]))
    with pytest.raises(BadProof, match="2 of 3 seats"):
        receipt.verify(fewer)
    assert canonical.encode(made) + b"\n" == receipt.encode(made)
