"""Finds, takes in and passes on what villages have done against the rules of councils.

Two words of one seat are found where they are kept (storage/councils). What stands in a neighbour's
log is found here, once the log is signed as far as that. Everything here is part of an exchange's
transaction, and none of it ever refuses a message.
"""

import logging
from typing import Final

import msgspec

from edge.core import limits, merkle, misbehaviour, records
from edge.core.messages import Proofs
from edge.core.misbehaviour import Misbehaviour
from edge.core.receipt import Evidence
from edge.errors import PeerError
from edge.storage import councils, logs, neighbours, trades
from edge.storage import misbehaviour as kept
from edge.storage.neighbours import Neighbour
from edge.storage.tx import Tx, View

ENDS_PER_MESSAGE_MAX: Final = 64  # whose certificates are checked, the newest ones
EXPORT_BYTES_MAX: Final = 1_000_000
DETAIL_CHARS_MAX: Final = 200  # of what somebody else may have a part in
_PREFIXES: Final = tuple(
    f'{{"kind":"{kind}",'.encode() for kind in ("hold", "no-hold", "settle", "release")
)
_log = logging.getLogger(__name__)

Announced = msgspec.UnsetType | Proofs


def speak(view: View, village: str) -> Announced:
    """Return what a neighbour has not heard of yet, UNSET if nothing is to be said."""
    have, number, proofs = kept.untold(view, village, limits.MISBEHAVIOUR_PER_MESSAGE_MAX)
    if not have and not proofs:
        return msgspec.UNSET
    return Proofs(have, number, tuple(msgspec.Raw(proof) for proof in proofs))


def export(view: View) -> bytes:
    """Return the newest proofs as a file that anyone can check, for whoever asks."""
    return misbehaviour.encode_list(kept.proofs(view, misbehaviour.LIST_MAX, EXPORT_BYTES_MAX))


def receive(tx: Tx, neighbour: Neighbour, heard: Announced, *, has_grown: bool) -> None:
    """Take in what a neighbour passes on, look through its log if that `has_grown`, and say so in
    the box's messages if either shows that somebody has broken the rules."""
    if isinstance(heard, Proofs):
        for proof in heard.said[: limits.MISBEHAVIOUR_PER_MESSAGE_MAX]:
            _take_in(tx, neighbour, bytes(proof))
        kept.note_heard(tx, neighbour.village, heard.have, heard.number)
    if has_grown:
        _examine(tx, neighbour)
    for found in kept.announce(tx):
        source = f" (heard from {found.source})" if found.source else ""
        _log.warning(
            "%s has broken the rules of councils: %s%s",
            found.village,
            found.text,
            source,
        )


def pass_over(tx: Tx, village: str, error: PeerError) -> None:
    """Say in the box's messages, once an hour for each neighbour, that what it says does not
    hold."""
    count, told_ms = tx.one(
        "SELECT passed_over, passed_over_ms FROM neighbour WHERE village = ?", village
    )
    if 0 <= tx.now_ms - told_ms < limits.HOUR_MS:
        tx.run("UPDATE neighbour SET passed_over = passed_over + 1 WHERE village = ?", village)
        return
    before = f"; {count} more were passed over before" if count else ""
    why = error.detail[:DETAIL_CHARS_MAX]
    _log.warning("passed over what %s says, since it does not hold: %s%s", village, why, before)
    tx.run(
        "UPDATE neighbour SET passed_over = 0, passed_over_ms = ? WHERE village = ?",
        tx.now_ms,
        village,
    )


def _take_in(tx: Tx, neighbour: Neighbour, proof: bytes) -> None:
    """Keep a proof that holds and is of a village known here, by the key known here."""
    try:
        said = misbehaviour.decode(proof)
        key = _key_of(tx, said.village)
        if key is None or kept.has_enough(tx, b"", said.village):
            return
        finding = misbehaviour.verify(said)
    except PeerError as error:
        pass_over(tx, neighbour.village, error)
        return
    if finding.key == key:
        kept.keep(tx, finding, said, neighbour.village)


def _key_of(view: Tx, village: str) -> bytes | None:
    if village == view.identity.village:
        return view.identity.key.public
    known = neighbours.find(view, village)
    return known.key if known is not None else None


# A neighbour's log


def _examine(tx: Tx, neighbour: Neighbour) -> None:
    """Look through what has been added to a neighbour's log, once it is signed and here."""
    examined, size = kept.unexamined(tx, neighbour.village)
    if size <= examined:
        return
    ends = []
    found = logs.records_from(tx, neighbour.log, examined, size - examined, limits.BODY_BYTES_MAX)
    kept.note_examined(tx, neighbour.village, examined + len(found))
    for index, record in enumerate(found, examined):
        if not record.startswith(_PREFIXES):
            continue
        try:
            decoded = records.decode(record)
        except PeerError:
            continue
        if isinstance(decoded, records.SettleRecord | records.ReleaseRecord):
            ends.append((index, decoded))
        elif isinstance(decoded, records.HoldRecord | records.NoHoldRecord):
            _examine_statement(tx, neighbour, decoded)
    for index, end in ends[-ENDS_PER_MESSAGE_MAX:]:
        _examine_end(tx, neighbour, index, end)


def _examine_statement(
    tx: Tx, neighbour: Neighbour, said: records.HoldRecord | records.NoHoldRecord
) -> None:
    subject = misbehaviour.subject_of(said)
    _, size = kept.unexamined(tx, neighbour.village)  # what stands after that is not signed here
    stated = logs.statements(tx, subject, neighbour.log)
    first = {kind: index for index, kind in reversed(stated) if index < size}
    if "hold" in first and "no-hold" in first:
        _note(tx, neighbour, said, first["hold"], first["no-hold"])


def _examine_end(
    tx: Tx, neighbour: Neighbour, index: int, end: records.SettleRecord | records.ReleaseRecord
) -> None:
    """Check the certificate of an end that is not as it was decided, as far as is known here."""
    wanted = "COMMIT" if isinstance(end, records.SettleRecord) else "ABORT"
    if end.certificate.value == wanted == _decided(tx, end.subject):
        return
    held = [
        place for place, kind in logs.statements(tx, end.subject, neighbour.log) if kind == "hold"
    ]
    if held:
        said = records.decode(logs.record_at(tx, neighbour.log, held[0]))
        assert isinstance(said, records.HoldRecord), "it was one when it was stored"
        _note(tx, neighbour, said, index)


def _decided(view: View, subject: bytes) -> str:
    opened = councils.find(view, subject)
    known = trades.find(view, subject) if opened is None else opened
    return known.certificate.value if known and known.certificate else ""


def _note(
    tx: Tx,
    neighbour: Neighbour,
    said: records.HoldRecord | records.NoHoldRecord,
    *indexes: int,
) -> None:
    """Keep what these records of a neighbour's log prove, if it is misbehaviour."""
    subject = misbehaviour.subject_of(said)
    if kept.has_enough(tx, subject, neighbour.village):
        return
    signatures = said.from_signature, said.to_signature
    evidence = [_signed(tx, neighbour, index) for index in indexes]
    found = misbehaviour.of_records(bytes(said.terms), signatures, evidence)
    try:
        finding = misbehaviour.verify(_in_bounds(found))
    except PeerError:
        return  # it is as it should be, or of terms that nobody has signed
    if finding.key == neighbour.key:
        kept.keep(tx, finding, found)


def _in_bounds(found: Misbehaviour) -> Misbehaviour:
    """Return a proof as others would read it. Raises Malformed or TooLarge."""
    return misbehaviour.decode(misbehaviour.encode(found))


def _signed(view: View, neighbour: Neighbour, index: int) -> Evidence:
    """Return the place of a record under the last checkpoint that the neighbour has signed."""
    last = logs.last_checkpoint(view, neighbour.log)
    assert last is not None, "only what is signed is looked through"
    size, _, text = last
    hashes = logs.read_nodes(view, neighbour.log, merkle.nodes_for_inclusion(index, size))
    proof = merkle.inclusion_proof(index, size, hashes)
    record = logs.record_at(view, neighbour.log, index)
    return Evidence(neighbour.village, index, record, tuple(proof), text)
