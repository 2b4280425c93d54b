"""What comes after a trade is settled, on this village's side: goods delivered, disputed, refunded.

Whoever receives goods says that they came, or disputes it; undisputed goods count as delivered
after 30 days by this village's own clock. The giver's side acts on what it finds in the receiver's
log, which comes with the ordinary sync. Each step is one transaction over committed rows, so that a
late or restarted box does what is due once it gets to it.
"""

from collections.abc import Callable, Iterable
from typing import Final, Literal

from edge.core import delivery, limits, names, trade
from edge.core.after_words import After
from edge.core.delivery import Leg, Stand
from edge.core.messages import DisputeText
from edge.core.trade import CARRIED_OUT, Proposal, Quantity, Status
from edge.errors import Forbidden, LimitExceeded, Malformed, WrongState
from edge.storage import deliveries, holds, neighbours, trades
from edge.storage.members import Member
from edge.storage.neighbours import Neighbour
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, Tx, View

Step = Literal["delivered", "dispute", "refund"]
_DEAD: Final = trade.UNBOUND_ENDS | {Status.ABORTED}
_BOUND: Final = CARRIED_OUT | {Status.ACCEPTED, Status.HELD}
_LATER_MINUTES: Final = limits.DAY_MS // limits.MINUTE_MS


# What people do


def deliver(tx: Tx, member: Member, known: Trade) -> Trade:
    """Say that the goods have come; not while this village proposes to refund them. Raises
    Forbidden, WrongState."""
    leg = _awaited(tx, member, known)
    if (by := barring(tx, known, leg)) is not None:
        raise WrongState(
            f"a refund of it is proposed: withdraw trade {by.id} first", trade_status=known.status
        )
    holds.append_delivered(tx, known, leg)
    return follow(tx, known)


def dispute(tx: Tx, member: Member, known: Trade, reason: str) -> Trade:
    """Say that the goods have not come as agreed, and write why; it may be written anew, and with
    an empty reason is erased. Raises Forbidden, WrongState, InvalidInput."""
    if not reason:
        return _erase(tx, member, known)
    text = names.line(reason, "reason", limits.DISPUTE_TEXT_CHARS_MAX)
    leg = _awaited(tx, member, known)
    if leg.goods.asset not in stand(tx, known).disputed:
        holds.append_disputed(tx, known, leg)
    return _write(tx, known, text)


def refund(view: View, member: Member, known: Trade, tokens: str = "") -> Proposal:
    """Return the trade that gives this one back, for its member to propose: all that it moved, but
    goods that have come; of AT only `tokens`, if that is not empty. Raises Forbidden, WrongState,
    InvalidInput."""
    if known.member != member.id:
        raise Forbidden("this is for a member whose trade it is")
    _check_carried_out(known)
    gone = stand(view, known).delivered
    part = None
    if tokens:
        part = names.signless_amount(tokens, names.TOKEN_DECIMALS, names.TOKEN)
    gives, gets = delivery.refund_sides(known.terms, known.role, gone, part)
    if (there := open_refund(view, known)) is not None:
        raise WrongState(f"there is a refund of it: trade {there.id}", trade_status=known.status)
    other = known.to_user if known.role == "from" else known.from_user
    sides = _written(gives), _written(gets)
    return Proposal(known.neighbour, other, *sides, refund_of=known.subject)


def steps(view: View, known: Trade) -> tuple[Step, ...]:
    """Return what its member may do about a trade that is carried out."""
    if known.status not in CARRIED_OUT or known.member is None:
        return ()
    leg = delivery.leg_of(known.terms, known.role)
    so_far = stand(view, known)
    if {each.goods.asset for each in delivery.legs(known.terms)} <= so_far.delivered:
        return ()
    found: tuple[Step, ...] = ()
    is_awaited = leg is not None and leg.goods.asset not in so_far.delivered
    if leg is not None and is_awaited and refund_of(view, known, leg) is None:
        found = ("dispute",) if barring(view, known, leg) else ("delivered", "dispute")
    return (*found, "refund") if open_refund(view, known) is None else found


# What is known


def stand(view: View, known: Trade) -> Stand:
    """Return what the logs of both sides say of a trade's goods."""
    their_log = neighbours.log_of(view, known.neighbour)
    ours = deliveries.words(view, known.subject, OWN_LOG)
    theirs = deliveries.words(view, known.subject, their_log)
    back = trades.given_back(view, known.subject)
    return delivery.stand(known.terms, known.role, ours, theirs, back)


def open_refund(view: View, known: Trade) -> Trade | None:
    """Return the trade that gives this one back, proposed, bound or settled."""
    found = [each for each in trades.refunds(view, known.subject) if each.status not in _DEAD]
    return found[-1] if found else None


def refund_of(view: View, known: Trade, leg: Leg) -> Trade | None:
    """Return the trade that gives these goods back, if this village is bound by one, or was."""
    for each in trades.refunds(view, known.subject):
        if each.status in _BOUND and leg.goods.asset in delivery.returned(each.terms):
            return each
    return None


def barring(view: View, known: Trade, leg: Leg) -> Trade | None:
    """Return the refund for which these goods cannot be said to have come: this village is bound by
    it, or was, or proposes it. What only the other side proposes bars nothing."""
    for each in trades.refunds(view, known.subject):
        is_proposed = each.status is Status.PENDING and each.role == "from"
        if is_proposed and leg.goods.asset in delivery.returned(each.terms):
            return each
    return refund_of(view, known, leg)


def after(view: View, known: Trade, when: Callable[[int], str]) -> After:
    """Return what there is to say of a trade beside its own row; `when` shows a time in ms."""
    original, minute = known.terms.refund_of, known.deliver_minute
    gives_back = trade.id_of(original) if original is not None else ""
    if known.status not in CARRIED_OUT:
        return After(Stand(frozenset(), frozenset()), refund_of=gives_back)
    there, leg = open_refund(view, known), delivery.leg_of(known.terms, known.role)
    return After(
        stand(view, known),
        there.id if there else "",
        there.status if there else None,
        gives_back,
        when(minute * limits.MINUTE_MS) if minute is not None else "",
        is_barred=leg is not None and barring(view, known, leg) is not None,
    )


# What is checked of a refund, before a village is bound by it


def check_refund(view: View, terms: trade.Terms, member: int | None) -> None:
    """Raise InvalidInput or WrongState if these are a refund's terms, and of no trade of this
    member's that can be refunded so."""
    if terms.refund_of is None:
        return
    known = trades.find(view, terms.refund_of)
    if known is None or known.status not in CARRIED_OUT or known.member != member:
        raise WrongState("the trade that it is to refund is not settled here, for the same member")
    their_log = neighbours.log_of(view, known.neighbour)
    theirs = deliveries.words(view, known.subject, their_log)
    gone = stand(view, known).delivered | delivery.said(theirs, "delivered")
    delivery.check_refund(terms, known.terms, gone)
    for leg in delivery.legs(known.terms):
        by = refund_of(view, known, leg)
        if by is not None and leg.goods.asset in delivery.returned(terms):
            raise WrongState(f"it is refunded by trade {by.id}")


# What the other village says


def take_in(tx: Tx, known: Trade, written: Iterable[DisputeText]) -> bool:
    """Take in what was written of a dispute; tell whether it was new. Raises Malformed."""
    new = False
    for each in written:
        if each.village == tx.identity.village:
            if deliveries.written(tx, known.subject).get(each.village) == each.text:
                deliveries.note_told(tx, known.subject)
            continue
        if each.village != known.neighbour or not delivery.leg_of(
            known.terms, known.role, receives=False
        ):
            raise Malformed("a dispute is written by whom the goods were to come to")
        new |= deliveries.write(tx, known.subject, each.village, each.text, told=True)
    if new:
        trades.keep(tx, known.subject, changed_ms=tx.stamp_ms)
    return new


def advance(tx: Tx, neighbour: Neighbour) -> set[bytes]:
    """Do what a neighbour's log has made due: reverse what it says was delivered, and note what it
    disputes. Return the subjects that moved."""
    found = [trades.by_subject(tx, subject) for subject in deliveries.heard(tx, neighbour.village)]
    return {known.subject for known in found if _act_on(tx, neighbour, known)}


def note_end(tx: Tx, ended: Trade) -> None:
    """Note what the end of a trade means for the delivery of its goods, or of the goods that it
    gives back: a dispute of these is over."""
    settled = ended.status is Status.SETTLED
    if ended.terms.refund_of is not None:
        original = trades.by_subject(tx, ended.terms.refund_of)
        leg = delivery.leg_of(original.terms, original.role)
        if settled and leg and leg.goods.asset in delivery.returned(ended.terms):
            trades.keep(tx, original.subject, deliver_minute=None)
        trades.keep(tx, original.subject, changed_ms=tx.stamp_ms)
        follow(tx, trades.by_subject(tx, original.subject))
    elif settled and delivery.leg_of(ended.terms, ended.role):
        minute = tx.minute + limits.UNDISPUTED_S_MAX * 1000 // limits.MINUTE_MS
        trades.keep(tx, ended.subject, deliver_minute=minute)


def expire(tx: Tx) -> int:
    """Count as delivered what came long enough ago, undisputed; return how much. What cannot be
    yet, such as what is being refunded, is looked at again a day later."""
    count = 0
    for subject in deliveries.due(tx, tx.minute):
        known = trades.by_subject(tx, subject)
        leg = delivery.leg_of(known.terms, known.role)
        assert leg is not None, "nothing comes of this trade"
        if barring(tx, known, leg) is None and _reverse(tx, known, leg):
            follow(tx, known)
            count += 1
        else:
            trades.keep(tx, subject, deliver_minute=tx.minute + _LATER_MINUTES)
    return count


# Helpers


def _awaited(view: View, member: Member, known: Trade) -> Leg:
    """Return the goods that a trade's member waits for. Raises Forbidden, WrongState."""
    leg = delivery.leg_of(known.terms, known.role)
    if known.member != member.id or (leg is None and delivery.legs(known.terms)):
        raise Forbidden("this is for the member to whom the goods come")
    _check_carried_out(known)
    if leg is None:
        raise WrongState("no goods come of it: nothing is to be delivered")
    if leg.goods.asset in stand(view, known).delivered:
        raise WrongState("it has been delivered", trade_status=known.status)
    if (by := refund_of(view, known, leg)) is not None:
        raise WrongState(f"it is refunded by trade {by.id}", trade_status=known.status)
    return leg


def _check_carried_out(known: Trade) -> None:
    if known.status not in CARRIED_OUT:
        raise WrongState(
            f"the trade {trade.HOW_IT_STANDS[known.status]}: nothing is to be delivered",
            trade_status=known.status,
        )


def _erase(tx: Tx, member: Member, known: Trade) -> Trade:
    if known.member != member.id:
        raise Forbidden("this is for the member who wrote it")
    if not deliveries.written(tx, known.subject).get(tx.identity.village):
        raise WrongState("nothing is written of a dispute", trade_status=known.status)
    return _write(tx, known, "")


def _write(tx: Tx, known: Trade, text: str) -> Trade:
    deliveries.write(tx, known.subject, tx.identity.village, text, told=False)
    trades.keep(tx, known.subject, changed_ms=tx.stamp_ms)
    return follow(tx, trades.by_subject(tx, known.subject))


def _act_on(tx: Tx, neighbour: Neighbour, known: Trade) -> bool:
    """Do what is due in one trade; tell whether it moved. What has to wait is heard again."""
    if known.status not in trade.ENDED:
        return False
    reverses, waits = False, False
    leg = delivery.leg_of(known.terms, known.role, receives=False)
    if leg is not None and known.status in CARRIED_OUT and _is_due(tx, neighbour, known, leg):
        by = refund_of(tx, known, leg)
        reverses = by is None and _reverse(tx, known, leg)
        waits = not reverses and (by is None or by.status not in CARRIED_OUT)
    if not waits:
        trades.keep(tx, known.subject, heard=0)
    return follow(tx, known).status is not known.status or reverses


def _is_due(view: View, neighbour: Neighbour, known: Trade, leg: Leg) -> bool:
    """Tell whether the receiver has said that these goods came, and this ledger has not yet."""
    theirs = deliveries.words(view, known.subject, neighbour.log)
    said = leg.goods.asset in delivery.said(theirs, "delivered")
    return said and leg.goods.asset not in stand(view, known).delivered


def _reverse(tx: Tx, known: Trade, leg: Leg) -> bool:
    """Append that goods have come, unless a counter is at its end; tell whether."""
    try:
        tx.part(lambda: holds.append_delivered(tx, known, leg))
    except LimitExceeded:
        return False
    return True


def follow(tx: Tx, known: Trade) -> Trade:
    """Bring a trade's row to what the logs say of its goods."""
    if known.status not in CARRIED_OUT:
        return known
    so_far = stand(tx, known)
    leg = delivery.leg_of(known.terms, known.role)
    if leg is not None and leg.goods.asset in so_far.delivered | so_far.disputed:
        trades.keep(tx, known.subject, deliver_minute=None)
    step = delivery.event(known.status, delivery.status(known.terms, so_far))
    if step is None:
        return trades.by_subject(tx, known.subject)
    return trades.advance(tx, known, step)


def _written(quantity: Quantity) -> tuple[str, str] | None:
    """Return one side of a proposal as people write it, None for nothing."""
    if not quantity.amount:
        return None
    return quantity.asset, names.amount_text(quantity.amount, quantity.decimals)
