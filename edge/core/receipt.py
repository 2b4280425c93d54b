"""Proof of one trade in one small file, checked years later with no network.

It holds the terms, the certificate, and for each statement the record, its inclusion proof and a
checkpoint cosigned by a quorum of the seats.
"""

from collections.abc import Sequence

import msgspec

from edge.core import canonical, checkpoint, council, limits, merkle, note, records, trade
from edge.errors import BadProof, BadSignature, InvalidInput, Malformed, PeerError, TooLarge

FORMAT = "village-edge/receipt/v1"
CHECKPOINT_BYTES_MAX = 2_048  # with the cosignatures of all seats; others are left out
RECEIPT_BYTES_MAX = 256 * 1024


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That a record stands at `index` of a village's log: record, path, cosigned checkpoint."""

    village: str
    index: int
    record: bytes
    proof: tuple[bytes, ...]
    checkpoint: str


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    terms: msgspec.Raw
    from_signature: bytes
    to_signature: bytes
    certificate: council.Certificate
    evidence: tuple[Evidence, ...]


_decoder = msgspec.json.Decoder(Receipt)


def encode(receipt: Receipt) -> bytes:
    """Return the receipt's file: one line, since the terms travel as the bytes that were signed."""
    return canonical.encode(receipt) + b"\n"


def decode(file: bytes) -> Receipt:
    """Return what a receipt file says, not yet verified. Raises InvalidInput."""
    if len(file) > RECEIPT_BYTES_MAX:
        raise InvalidInput(f"the receipt is over {RECEIPT_BYTES_MAX} bytes")
    try:
        receipt = _decoder.decode(file)
    except canonical.UNREADABLE as error:
        raise InvalidInput(f"not a receipt: {str(error)[:200]}") from None
    if canonical.encode(receipt) != file.removesuffix(b"\n"):
        raise InvalidInput("not a receipt in its one form: it was altered or written anew")
    return receipt


def verify(receipt: Receipt) -> trade.Terms:
    """Return the terms of a receipt that holds; BadProof says which part does not."""
    try:
        return _verify(receipt)
    except (Malformed, TooLarge, BadSignature) as error:
        raise BadProof(f"the receipt does not hold: {error.detail}") from None


def check_keys(terms: trade.Terms, keys: Sequence[note.VerifierKey]) -> None:
    """Raise BadProof unless the keys are those that their villages have in the terms, and both
    parties' are among them. Anybody can make a receipt that holds, with keys of his own."""
    seats = {seat.village: seat.key for seat in terms.seats}
    for key in keys:
        if key.name not in seats:
            raise BadProof(f"{key.name} has no part in this trade")
        if seats[key.name] != key.public:
            raise BadProof(f"this receipt is not of the {key.name} of that key: it has another")
    for village in (terms.from_village, terms.to_village):
        if all(key.name != village for key in keys):
            raise BadProof(f"the key of {village}, a party, is not given: add it with --log")


def verify_evidence(evidence: Evidence, seats: Sequence[council.Seat]) -> bytes:
    """Return the record if it is *proven*: in a tree that its village signed and a quorum of the
    seats, the village itself counted, cosigned. Raises BadProof, Malformed or BadSignature."""
    _, others = witnessed(evidence, seats)
    cosigned = {evidence.village} | others.keys()
    needed = council.quorum(len(seats))
    if len(cosigned) < needed:
        raise BadProof(
            f"{len(cosigned)} of {needed} seats have cosigned the log of {evidence.village}"
        )
    return evidence.record


def witnessed(
    evidence: Evidence, seats: Sequence[council.Seat]
) -> tuple[checkpoint.Checkpoint, dict[str, int]]:
    """Return the checkpoint of `verify_signed`, and which seats have cosigned it, each with the
    time that it says, in seconds of UTC. Raises BadProof, Malformed or BadSignature."""
    head = verify_signed(evidence, seats)
    keys = {seat.village: seat.key for seat in seats}
    return head, _cosigners(evidence.checkpoint, head, keys)


def verify_signed(evidence: Evidence, seats: Sequence[council.Seat]) -> checkpoint.Checkpoint:
    """Return the checkpoint if the record is in a tree that its village, one of the seats, signed:
    its own word, whoever has cosigned it. Raises BadProof, Malformed or BadSignature."""
    key = next((seat.key for seat in seats if seat.village == evidence.village), None)
    if key is None:
        raise BadProof(f"{evidence.village[:63]} has no seat")
    if len(evidence.checkpoint.encode()) > CHECKPOINT_BYTES_MAX:
        raise BadProof(f"a checkpoint in evidence has at most {CHECKPOINT_BYTES_MAX} bytes")
    head = checkpoint.open_checkpoint(evidence.checkpoint, evidence.village, key)
    merkle.verify_inclusion(
        evidence.index, head.size, merkle.leaf_hash(evidence.record), evidence.proof, head.root
    )
    return head


def statement_of(evidence: Evidence, terms: trade.Terms, terms_bytes: bytes) -> trade.Statement:
    """Return what the evidence proves: its village's hold or no-hold on these terms.

    Raises BadProof, Malformed or BadSignature.
    """
    verify_evidence(evidence, terms.seats)
    return statement_in(evidence, terms, terms_bytes)


def statement_in(evidence: Evidence, terms: trade.Terms, terms_bytes: bytes) -> trade.Statement:
    """Return what the record of checked evidence says: a party's hold or no-hold on these terms.

    Raises BadProof, Malformed or BadSignature.
    """
    record = records.decode(evidence.record)
    if not isinstance(record, records.HoldRecord | records.NoHoldRecord):
        raise BadProof(f"the evidence of {evidence.village} is not a hold or no-hold")
    if bytes(record.terms) != terms_bytes:
        raise BadProof(f"the evidence of {evidence.village} is of another trade")
    if evidence.village not in (terms.from_village, terms.to_village):
        raise BadProof(f"{evidence.village} is not a party")
    trade.verify_party(terms, terms_bytes, "from", record.from_signature)
    trade.verify_party(terms, terms_bytes, "to", record.to_signature)
    if isinstance(record, records.HoldRecord):
        return "hold"
    if evidence.village != terms.from_village:
        raise BadProof("only the proposer says no-hold")
    return "no-hold"


def claimed_by(evidence: Evidence) -> trade.Statement | None:
    """Return what the evidence is said to prove, of whatever trade: nothing of it is verified."""
    try:
        record = records.decode(evidence.record)
    except PeerError:
        return None
    if isinstance(record, records.HoldRecord):
        return "hold"
    return "no-hold" if isinstance(record, records.NoHoldRecord) else None


def _cosigners(text: str, head: checkpoint.Checkpoint, keys: dict[str, bytes]) -> dict[str, int]:
    found = {}
    for signature in note.Note.from_text(text).signatures:
        key = keys.get(signature.name)
        if key is None or signature.key_id != note.key_id(signature.name, note.COSIGNATURE_V1, key):
            continue
        found[signature.name] = checkpoint.verify_cosignature(head, signature, signature.name, key)
    return found


def _verify(receipt: Receipt) -> trade.Terms:
    if receipt.format != FORMAT:
        raise BadProof(f"the receipt is not of the form {FORMAT}")
    terms_bytes = bytes(receipt.terms)
    terms = trade.decode_terms(terms_bytes)
    trade.verify_party(terms, terms_bytes, "from", receipt.from_signature)
    trade.verify_party(terms, terms_bytes, "to", receipt.to_signature)
    subject = trade.subject_of(terms_bytes)
    council.verify_certificate(receipt.certificate, terms.network, subject, terms.seats)
    if len(receipt.evidence) > limits.SEATS_MAX:
        raise BadProof("the receipt has more evidence than a council has seats")
    statements: dict[str, trade.Statement] = {}
    for evidence in receipt.evidence:
        if evidence.village in statements:
            raise BadProof(f"the receipt has two statements of {evidence.village}")
        statements[evidence.village] = statement_of(evidence, terms, terms_bytes)
    _check_statements(receipt.certificate.value, terms, statements)
    return terms


def _check_statements(
    value: council.Value, terms: trade.Terms, statements: dict[str, trade.Statement]
) -> None:
    """COMMIT shows both holds. ABORT shows the proposer's no-hold; a council may also have found a
    hold absent, of which its certificate is the proof."""
    if value == "COMMIT":
        if statements != {terms.from_village: "hold", terms.to_village: "hold"}:
            raise BadProof("a settled trade's receipt shows the holds of both villages")
    elif len(terms.seats) == 2 and statements.get(terms.from_village) != "no-hold":
        raise BadProof("an aborted trade's receipt shows the proposer's no-hold")
