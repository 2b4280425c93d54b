"""Proof that a village has broken the rules of councils, in one value that anyone can check with no
network: the terms of a subject, and what the village has signed about it and never may.

- Two different words in one round and step: no honest seat signs both, whatever happens to it.
- A hold and a no-hold on one trade, both in its log.
- A settle or release in its log without a certificate that holds.

It tells of a key as much as of a village: whoever takes it in compares the key with the one that it
knows, since anybody can make up terms with seats of his own.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from edge.core import canonical, council, note, receipt, records, trade
from edge.core.council import Proposal, Subject, Vote
from edge.core.receipt import Evidence
from edge.errors import BadProof, BadSignature, InvalidInput, Malformed, PeerError, TooLarge

FORMAT: Final = "village-edge/misbehaviour/v1"
BYTES_MAX: Final = 96 * 1024  # two records of the greatest terms, with their proofs
LIST_MAX: Final = 64  # in one file

What = Literal["two votes", "two proposals", "hold and no-hold", "end without certificate"]
IN_WORDS: Final[dict[What, str]] = {
    "two votes": "it signed two different votes where it may only cast one",
    "two proposals": "it signed two different proposals for one round",
    "hold and no-hold": "its log says of one trade that it is bound and that it is not",
    "end without certificate": "its log ends a trade by a certificate that does not hold",
}


class Misbehaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `village` has done: of `votes`, `proposals` and `evidence` only one is not empty.
    `evidence`: its hold and its no-hold, or one settle or release."""

    format: str
    terms: msgspec.Raw
    from_signature: bytes
    to_signature: bytes
    village: str
    votes: tuple[Vote, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    evidence: tuple[Evidence, ...] = ()


class Finding(msgspec.Struct, frozen=True):
    """What a proof proves, and of whom: a village and the key that it had in the terms."""

    subject: bytes
    village: str
    key: bytes
    what: What


_codec = canonical.Codec(Misbehaviour, "proof of misbehaviour", BYTES_MAX)
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def encode(said: Misbehaviour) -> bytes:
    """Return the one form of the proof."""
    return canonical.encode(said)


def decode(text: bytes) -> Misbehaviour:
    """Return what a proof says, not yet verified. Raises Malformed or TooLarge."""
    return _codec.decode(text)


def encode_list(found: Sequence[bytes]) -> bytes:
    """Return encoded proofs as one file, as it is exported and served: a JSON list."""
    return b"[" + b",\n".join(found) + b"]\n"


def is_list(file: bytes) -> bool:
    """Tell whether a file seems to be such a list, not a receipt."""
    return file.startswith(b"[")


def verify_list(file: bytes) -> list[Finding]:
    """Return what all proofs of a file prove; it may have none. Raises InvalidInput, or BadProof at
    the first that does not hold."""
    if len(file) > LIST_MAX * BYTES_MAX:
        raise InvalidInput("the file is longer than any list of proofs")
    try:
        found = [decode(bytes(each)) for each in _list_decoder.decode(file)[: LIST_MAX + 1]]
    except (*canonical.UNREADABLE, PeerError) as error:
        raise InvalidInput(f"not a list of proofs of misbehaviour: {str(error)[:200]}") from None
    if len(found) > LIST_MAX:
        raise InvalidInput(f"a file has at most {LIST_MAX} proofs, and this one more")
    return [verify(each) for each in found]


def check_keys(found: Sequence[Finding], keys: Sequence[note.VerifierKey]) -> None:
    """Raise BadProof unless the key of each village that is proven to have broken the rules is
    among these. Anybody can make up proofs of villages with keys of his own."""
    given = {(key.name, key.public) for key in keys}
    for each in found:
        if (each.village, each.key) in given:
            continue
        if any(key.name == each.village for key in keys):
            raise BadProof(f"a proof is not of the {each.village} of that key: it has another")
        raise BadProof(f"the key of {each.village} is not given: add it with --log")


def of_words(
    terms: bytes, signatures: tuple[bytes, bytes], one: Vote | Proposal, other: Vote | Proposal
) -> Misbehaviour:
    """Return the proof that two checked words of a seat are, which contradict each other."""
    assert council.contradict(one, other), "these words may stand beside each other"
    found = Misbehaviour(FORMAT, msgspec.Raw(terms), *signatures, one.village)
    words = (one, other)
    if isinstance(one, Vote):
        return msgspec.structs.replace(found, votes=words)
    return msgspec.structs.replace(found, proposals=words)


def of_records(
    terms: bytes, signatures: tuple[bytes, bytes], evidence: Sequence[Evidence]
) -> Misbehaviour:
    """Return the proof that records of one village's log are, not yet verified."""
    return Misbehaviour(
        FORMAT, msgspec.Raw(terms), *signatures, evidence[0].village, evidence=tuple(evidence)
    )


def subject_of(said: records.HoldRecord | records.NoHoldRecord) -> bytes:
    """Return what a statement in a log is about."""
    return trade.subject_of(bytes(said.terms))


def verify(said: Misbehaviour) -> Finding:
    """Return what a proof proves; BadProof says why it does not hold."""
    try:
        return _verify(said)
    except (Malformed, TooLarge, BadSignature) as error:
        raise BadProof(f"the proof of misbehaviour does not hold: {error.detail}") from None


def _verify(said: Misbehaviour) -> Finding:
    if said.format != FORMAT:
        raise BadProof(f"the proof is not of the form {FORMAT}")
    terms_bytes = bytes(said.terms)
    terms = trade.decode_terms(terms_bytes)
    trade.verify_party(terms, terms_bytes, "from", said.from_signature)
    trade.verify_party(terms, terms_bytes, "to", said.to_signature)
    subject = Subject(terms.network, trade.subject_of(terms_bytes), terms.seats, terms.window_s)
    key = subject.key_of(said.village)
    if key is None:
        raise BadProof(f"{said.village[:63]} has no seat")
    return Finding(subject.id, said.village, key, _what(said, terms, subject))


def _what(said: Misbehaviour, terms: trade.Terms, subject: Subject) -> What:
    match len(said.votes), len(said.proposals), len(said.evidence):
        case 2, 0, 0:
            place = subject.network, subject.id, subject.seats
            _check_words(said, *(council.vote_is_valid(vote, *place) for vote in said.votes))
            return "two votes"
        case 0, 2, 0:
            _check_words(
                said, *(council.proposal_is_valid(each, subject) for each in said.proposals)
            )
            return "two proposals"
        case 0, 0, 2:
            _check_statements(said, terms)
            return "hold and no-hold"
        case 0, 0, 1:
            _check_end(said, terms, subject)
            return "end without certificate"
    raise BadProof("a proof is two votes, two proposals, or one or two records")


def _check_words(said: Misbehaviour, *hold: bool) -> None:
    one, other = said.votes or said.proposals
    if one.village != said.village or not council.contradict(one, other):
        raise BadProof(f"these two words of {said.village} may stand beside each other")
    if not all(hold):
        raise BadProof(f"{said.village} has not signed both")


def _check_statements(said: Misbehaviour, terms: trade.Terms) -> None:
    stated = set()
    for evidence in said.evidence:
        _check_signed(said, evidence, terms)
        stated.add(receipt.statement_in(evidence, terms, bytes(said.terms)))
    if stated != {"hold", "no-hold"}:
        raise BadProof(f"the log of {said.village} says the same twice")


def _check_end(said: Misbehaviour, terms: trade.Terms, subject: Subject) -> None:
    """A party's end of its hold, in its own log, and no certificate for it."""
    [evidence] = said.evidence
    _check_signed(said, evidence, terms)
    record = records.decode(evidence.record)
    if not isinstance(record, records.SettleRecord | records.ReleaseRecord):
        raise BadProof("the record ends nothing")
    if record.subject != subject.id or said.village not in (terms.from_village, terms.to_village):
        raise BadProof("the record ends another trade")
    if not _is_lawful(record, subject):
        return
    raise BadProof(f"{said.village} has ended the trade by a certificate that holds")


def _is_lawful(record: records.SettleRecord | records.ReleaseRecord, subject: Subject) -> bool:
    wanted = "COMMIT" if isinstance(record, records.SettleRecord) else "ABORT"
    certificate = record.certificate
    try:
        council.verify_certificate(certificate, subject.network, subject.id, subject.seats)
    except PeerError:
        return False
    return certificate.value == wanted


def _check_signed(said: Misbehaviour, evidence: Evidence, terms: trade.Terms) -> None:
    if evidence.village != said.village:
        raise BadProof(f"a record is not of the log of {said.village}")
    receipt.verify_signed(evidence, terms.seats)
