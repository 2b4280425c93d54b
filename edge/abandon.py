"""Giving up a trade, as a steward: at once while nobody here is bound by it, later only with the
decision itself, which somebody brings as a receipt. There is no force, and no clock."""

from edge import standing, trade_escrow
from edge.core import names, receipt, trade
from edge.core.receipt import Receipt
from edge.core.trade import ENDED, HOW_IT_STANDS, Event, Status
from edge.core.words import moment, together, when
from edge.errors import BadProof, WrongState
from edge.storage import councils, deals, deciding, holds, members, neighbours, outbox, trades
from edge.storage.councils import Opened
from edge.storage.deals import Deal
from edge.storage.swaps import Swap
from edge.storage.trades import Trade
from edge.storage.tx import Tx, View


def read_evidence(file: bytes) -> Receipt:
    """Return a receipt that holds, whatever it is of. Raises InvalidInput, BadProof."""
    found = receipt.decode(file.rstrip(b"\n"))
    receipt.verify(found)
    return found


def named(view: View, id_: str) -> Swap:
    """Return the trade of this village's to give up. Raises WrongState for one of others that it
    only helps to decide, UnknownTrade."""
    found = deciding.swap_or_subject(view, id_)
    if isinstance(found, Opened):
        terms = found.terms
        raise WrongState(
            f"this village only helps to decide trade {trade.id_of(found.id)}: only its two "
            f"parties, {terms.from_village} and {terms.to_village}, can give it up"
        )
    return found


def abandon(
    tx: Tx, known: Swap, by: str, reason: str = "", evidence: Receipt | None = None
) -> Swap:
    """End a trade on this village's side, if that may be; return it as it is then.

    `by`: the steward, in words. `evidence` is a receipt that holds (`read_evidence`): with it the
    trade ends as it was decided, along the way on which a neighbour's word of the decision does.
    Raises WrongState, which says what can be done; BadProof for evidence of something else.
    """
    if known.status in ENDED:
        raise WrongState(
            f"the trade {HOW_IT_STANDS[known.status]}: nothing is set aside or held for it",
            trade_status=known.status,
        )
    if isinstance(known, Deal):
        return _end_at_home(tx, known, by, names.note_text(reason), evidence)
    if evidence is not None:
        _check_subject(known, evidence)
    if known.status is Status.PENDING:
        return _withdraw(tx, known, by, names.note_text(reason), evidence)
    if evidence is None:
        raise WrongState(why_not(tx, known, tx.now_ms), trade_status=known.status)
    return _end(tx, known, evidence)


def why_not(view: View, known: Trade, now_ms: int) -> str:
    """Return why a bound trade is not given up without evidence, whom it waits for, and what can be
    done about that. `now_ms`: by the clock."""
    stands = standing.of(view, known)
    silent = standing.to_ask(view, known, stands, now_ms)
    ask = "The other boxes were all heard from within the last 2 minutes: try again soon."
    if silent:
        are = "their boxes run" if len(silent) > 1 else "its box runs"
        stewards = "stewards" if len(silent) > 1 else "steward"
        ask = f"Ask the {stewards} of {together(silent)} if {are}, and try again."
    absent = (
        " If a hold is never shown, the seats may say that it is absent from "
        f"{when(moment(stands.absent_from_ms))} on, and what is held comes back."
        if stands.absent_from_ms
        else ""
    )
    return (
        "this village is bound by it, and neither a clock nor a steward ends that: only the "
        f"decision does. It waits for {stands.waits_for}. {ask}{absent} If another of its villages "
        "has the decision, the receipt that it exports brings it here as a file: that is evidence"
    )


def _check_subject(known: Trade, evidence: Receipt) -> None:
    """Raise BadProof for the receipt of another trade."""
    subject = trade.subject_of(bytes(evidence.terms))
    if subject != known.subject:
        raise BadProof(f"the file is the receipt of another trade, {trade.id_of(subject)}")


def _withdraw(tx: Tx, known: Trade, by: str, reason: str, evidence: Receipt | None) -> Trade:
    """End what nobody here is bound by: an own proposal, or one that waits for an answer."""
    if evidence is not None and evidence.certificate.value == "COMMIT":
        raise WrongState(
            "the file proves that this trade was carried out, and this box knows of no hold of its "
            "own: it was set back to an old copy",
            trade_status=known.status,
        )
    person = known.from_user if known.role == "from" else known.to_user
    did = "withdrew" if known.role == "from" else "declined"
    said = f"{by} {did} it for {person or 'a member'}"
    event = Event.CANCEL if known.role == "from" else Event.REJECT
    because = reason.rstrip(".")
    ended = trades.advance(tx, known, event, f"{said}: {because}" if because else said)
    holds.free(tx, known)
    return ended


def _end_at_home(tx: Tx, known: Deal, by: str, reason: str, evidence: Receipt | None) -> Deal:
    """End a proposal of one member to another: it binds nobody until it is done."""
    if evidence is not None:
        raise WrongState("a trade within the village has no receipt, and needs no evidence")
    proposer = members.by_id(tx, known.from_member)
    said = f"{by} withdrew it for {proposer.name if proposer else 'a member'}"
    because = reason.rstrip(".")
    return deals.end(tx, known, Event.CANCEL, f"{said}: {because}" if because else said)


def _end(tx: Tx, known: Trade, evidence: Receipt) -> Trade:
    trade_escrow.take_certificate(tx, known, evidence.certificate)
    opened = councils.find(tx, known.subject)
    if opened is not None:  # so that this box can make the receipt, too
        for each in evidence.evidence:
            statement = receipt.statement_of(each, known.terms, known.terms_bytes)
            councils.keep_proof(tx, councils.held(tx, opened), each, statement)
    neighbour = neighbours.named(tx, known.neighbour)
    trade_escrow.advance_all(tx, neighbour, [known.subject])
    outbox.close(tx, neighbour, trades.by_subject(tx, known.subject))
    return trades.by_subject(tx, known.subject)
