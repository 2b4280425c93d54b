"""What a village has said after its box was set back comes into the log again, and what follows
from it into its books.

A neighbour gives back the public records. Whose money they moved only the private rows knew: a hold
is booked to the member of its trade, where that is known, else to STAND_IN; what members paid each
other is not booked at all. `lost` says of which records that is so.
"""

from typing import Final

from edge import trade_council, trade_delivery
from edge.core import checkpoint, crypto, merkle, records, replay, trade
from edge.core.accounts import member_account
from edge.core.council import Certificate
from edge.core.replay import Delivery, Statement
from edge.core.trade import Event, Status
from edge.errors import BadProof, SetBack
from edge.storage import (
    deals,
    deliveries,
    logs,
    members,
    neighbours,
    rebuild,
    set_back,
    trades,
)
from edge.storage.members import Member
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, Tx, View

STAND_IN: Final = "Unknown since restore"
STEP_RECORDS: Final = 4_096  # taken into the log, or checked, at once
_MAYBE_DONE: Final = "this box was restored, and it may have been agreed on before that"
_FORGOTTEN: Final = "it had ended when this box was restored"
_FROM_LOG: Final = "from this village's log, after the box was restored"


def check(tx: Tx, text: str) -> None:
    """Recompute what was given back to the root that this village has signed. Raises BadProof, and
    then nothing of it is kept."""
    own = tx.identity
    signed = checkpoint.open_checkpoint(text, own.village, own.key.public)
    if _root(tx, signed.size) != signed.root:
        raise BadProof("what was given back is not what this village has signed")
    set_back.note_checked(tx, text)


def step(tx: Tx) -> bool:
    """Take some of it into the log, where all of it was checked; tell whether there is more."""
    start = tx.next_index
    found = set_back.returned(tx, start, STEP_RECORDS) if set_back.is_checked(tx) else []
    for index, record in enumerate(found, start):
        tx.append_again(record)
        _note(tx, index, record)
    set_back.drop_returned(tx, start + len(found))
    return len(found) == STEP_RECORDS


def finish(tx: Tx) -> None:
    """Bring trades and balances to what the log says, and go on as any box does.

    Raises SetBack if the log speaks of a village that is no neighbour (any more, or not yet).
    """
    stood = set_back.standing(tx)
    if stood is None:
        return
    if stood.size < tx.next_index:
        for deal in deals.pending(tx):
            deals.end(tx, deal, Event.CANCEL, _MAYBE_DONE)
        for subject in _subjects(tx, stood.size):
            _follow(tx, subject)
        rebuild.rebuild(tx, stood.size)
    set_back.end(tx)


def go_on(tx: Tx) -> list[str]:
    """Go on at the steward's word; return the neighbours that were not asked."""
    stood = set_back.standing(tx)
    waited = list(stood.waits_for) if stood else []
    finish(tx)
    return waited


def _root(view: View, size: int) -> bytes:
    """Return the root of the own log with what was given back behind it, up to a size."""
    head = logs.head_of(view, OWN_LOG)
    at, edge = head.size, list(head.edge)
    while at < size:
        found = set_back.returned(view, at, min(STEP_RECORDS, size - at))
        if not found:
            raise BadProof(f"record {at} was not given back")
        grown, _ = merkle.extend(at, edge, [merkle.leaf_hash(each) for each in found])
        edge, at = list(grown), at + len(found)
    return merkle.root_from_edge(edge)


def _note(tx: Tx, index: int, record: bytes) -> None:
    """Keep what a record says publicly, and that its private row is lost."""
    decoded = records.decode(record)
    tx.not_before_ms(decoded.minute)
    if isinstance(decoded, records.SealedRecord):
        set_back.keep_lost(tx, index, "")
    elif isinstance(decoded, records.HoldRecord):
        known = trades.find(tx, trade.subject_of(bytes(decoded.terms)))
        member = known.member if known and known.member is not None else _stand_in(tx).id
        set_back.keep_lost(tx, index, member_account(member))
    said = replay.said_in(record)
    if isinstance(said, Statement):
        logs.keep_statement(tx, OWN_LOG, index, *said)
    elif isinstance(said, Delivery):
        deliveries.keep(tx, OWN_LOG, index, said)
    elif said is not None:
        logs.keep_copied_asset(tx, OWN_LOG, said)


def _stand_in(tx: Tx) -> Member:
    found = members.find(tx, STAND_IN)
    return found or members.add(tx, STAND_IN, crypto.hash_pin(tx.random(32).hex()))


def _subjects(view: View, start: int) -> list[bytes]:
    """Return the trades of which records from `start` on speak, the first first."""
    return list(dict.fromkeys(logs.said_since(view, OWN_LOG, start)))


def _follow(tx: Tx, subject: bytes) -> None:
    """Bring a trade's row to what the log says."""
    said = logs.statements(tx, subject, OWN_LOG)
    known = trades.find(tx, subject) or _add(tx, said[0][0])
    first = records.decode(logs.record_at(tx, OWN_LOG, said[0][0]))
    assert isinstance(first, records.HoldRecord | records.NoHoldRecord)
    trades.keep(tx, subject, to_signature=first.to_signature, reserved=0, told=0, closed=0)
    known = trades.by_subject(tx, subject)
    if known.status is Status.PENDING:
        held = said[0][1] == "hold"
        known = trades.advance(
            tx, known, Event.ACCEPT if held else Event.EXPIRE, _FROM_LOG if held else _FORGOTTEN
        )
    trade_council.open_subject(tx, known, first.to_signature)
    if len(said) == 2 and known.status not in trade.ENDED:
        known = _end(tx, known, said[1][0])
    trade_delivery.follow(tx, known)


def _add(tx: Tx, index: int) -> Trade:
    """Keep a trade whose hold or no-hold is in the log, and which was forgotten."""
    record = records.decode(logs.record_at(tx, OWN_LOG, index))
    assert isinstance(record, records.HoldRecord | records.NoHoldRecord)
    terms_bytes = bytes(record.terms)
    terms = trade.decode_terms(terms_bytes)
    role: trade.Role = "from" if terms.from_village == tx.identity.village else "to"
    other = terms.to_village if role == "from" else terms.from_village
    if neighbours.find(tx, other) is None:
        raise SetBack(
            f"this village has traded with {other} after the backup was made, and does not know it"
            " here: become neighbours with it again (peer invite, peer add)"
        )
    member = None
    if isinstance(record, records.HoldRecord):
        member = int(set_back.lost(tx)[index].rpartition(":")[2])
    name = STAND_IN if member is not None else ""
    people = (name, "") if role == "from" else ("", name)
    return trades.add(
        tx, terms_bytes, terms, role, record.from_signature, people, member, reserved=False
    )


def _end(tx: Tx, known: Trade, index: int) -> Trade:
    record = records.decode(logs.record_at(tx, OWN_LOG, index))
    assert isinstance(record, records.SettleRecord | records.ReleaseRecord)
    certificate: Certificate = record.certificate
    trades.keep_certificate(tx, known.subject, certificate)
    trade_council.keep_decision(tx, known.subject, certificate)
    settled = certificate.value == "COMMIT"
    if settled and known.status is Status.ACCEPTED:
        known = trades.advance(tx, known, Event.BOTH_HELD)
    ended = trades.advance(tx, known, Event.COMMIT if settled else Event.ABORT, _FROM_LOG)
    trade_delivery.note_end(tx, ended)
    return trades.by_subject(tx, known.subject)
