"""Doing a steward's commands: `run` has one arm for each class of control.py."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from edge import (
    abandon,
    after_settlement,
    desk,
    exports,
    market,
    peering,
    standing,
    steward,
    taking_back,
    trade_delivery,
    trade_escrow,
    trade_receipt,
)
from edge.after_settlement import STEWARD
from edge.control import (
    AnyCommand,
    AssetApprove,
    Consume,
    Declare,
    ExportReceipt,
    ExportTrades,
    GoOn,
    ImportRegistry,
    Issue,
    Limit,
    MemberAdd,
    MemberList,
    MemberPin,
    MemberSteward,
    Pay,
    PeerAdd,
    PeerInvite,
    PeerList,
    Status,
    TradeAbandon,
    TradeAccept,
    TradeCancel,
    TradeDelivered,
    TradeDispute,
    TradeList,
    TradePropose,
    TradeRefund,
    TradeReject,
    TradeRetry,
    TradeShow,
)
from edge.core import after_words, invitation, limits, names, receipt, registry, trade, words
from edge.errors import Refused, WrongState
from edge.steward import Box
from edge.storage import (
    deals,
    deciding,
    deliveries,
    facts,
    ledger,
    logs,
    members,
    neighbours,
    swaps,
    trades,
)
from edge.storage import misbehaviour as kept
from edge.storage.councils import Opened
from edge.storage.deals import Deal
from edge.storage.members import Member
from edge.storage.swaps import Swap
from edge.storage.trades import Trade
from edge.storage.tx import Tx, View

LISTED_MAX: Final = 1_000


async def run(box: Box, command: AnyCommand) -> object:
    """Do a command and return what there is to show, as plain JSON values."""
    match command:
        case MemberAdd() | MemberPin() | MemberSteward():
            return await _member(box, command)
        case Pay() | Issue() | Declare() | Consume() | Limit():
            return await _enter(box, command)
        case AssetApprove():
            return await _approve(box, command)
        case PeerInvite() | PeerAdd():
            return await _peer(box, command)
        case TradePropose():
            return await _propose(box, command)
        case TradeAccept() | TradeReject() | TradeCancel():
            return await _decide(box, command)
        case TradeDelivered() | TradeDispute() | TradeRefund():
            return await _go_on(box, command)
        case TradeRetry() | TradeAbandon() | GoOn():
            return await _look_after(box, command)
        case ImportRegistry():
            return await _import_registry(box, command)
        case _:
            return await box.runner.read(lambda view: _look(box, view, command))


def _look(box: Box, view: View, command: AnyCommand) -> object:
    match command:
        case MemberList():
            return msgspec.to_builtins(desk.members_listed(view))
        case PeerList():
            return {"neighbours": _neighbours(box, view), "candidates": _candidates(view)}
        case TradeShow():
            return _named_in_full(view, command.trade)
        case TradeList(deciding=True):
            return [subject_shown(view, opened) for opened in deciding.page(view, LISTED_MAX)]
        case TradeList():
            return [swap_shown(view, found) for found in swaps.everyone(view)]
        case Status():
            return msgspec.to_builtins(box.health(view))
    return _export(view, command)


def _export(view: View, command: AnyCommand) -> object:
    match command:
        case ExportTrades():
            return [trade_public(found) for found in trades.everyone(view, limit=100_000)]
        case ExportReceipt():
            return receipt.encode(_receipt(view, command.trade)).decode()
    return exports.of(view, command)


def swap_shown(view: View, found: Swap) -> dict[str, object]:
    """Return a trade, with another village or at home, as its own village's people see it."""
    return deal_shown(view, found) if isinstance(found, Deal) else trade_shown(view, found)


def deal_shown(view: View, found: Deal) -> dict[str, object]:
    """Return a trade within the village with the fields of any other; it has no terms, and so no
    `trade_id` and no `subject`."""
    village = facts.read(view, "village_id")
    giver, taker = (_name(view, id_) for id_ in (found.from_member, found.to_member))
    offer, request = (_side_shown(view, *side) for side in (found.offer, found.request))
    gives, gets = (
        "".join(f"{amount} {words.asset_text(code)}" for code, amount in side.items())
        or words.NOTHING
        for side in (offer, request)
    )
    deadline = words.when(words.moment(found.deadline_minute * limits.MINUTE_MS))
    return {
        "id": found.id,
        "trade_id": None,
        "from_village": village,
        "to_village": village,
        "offer": offer,
        "request": request,
        "status": found.status,
        "subject": None,
        "deadline": found.deadline_minute * 60,
        "from_user": giver,
        "to_user": taker,
        "fee": names.amount_text(0, names.TOKEN_DECIMALS),
        "message": words.describe_deal(
            "from", found.status, gives, gets, taker, deadline, giver, found.reason
        ),
        "refund_of": None,
        "refund": None,
        "disputes": {},
    }


def trade_shown(view: View, found: Trade) -> dict[str, object]:
    """Return a trade with another village as its own village's people see it. `refund` is the trade
    that gives it back; `disputes`: what was written, by the village of whoever wrote it."""
    terms = found.terms
    fee, me, them = terms.to_fee, found.to_user, found.from_user
    if found.role == "from":
        fee, me, them = terms.from_fee, them, me
    beside = trade_delivery.after(view, found, lambda ms: words.when(words.moment(ms)))
    message = words.describe(
        found.role,
        found.status,
        terms,
        found.from_user,
        found.to_user,
        found.reason,
        yours=False,
        told=found.told,
        addressed=found.addressed,
    )
    came = after_words.after(found.role, found.status, terms, beside, me, them, yours=False)
    written = deliveries.written(view, found.subject)
    return trade_public(found) | {
        "from_user": found.from_user,
        "to_user": found.to_user,
        "fee": names.amount_text(fee, names.TOKEN_DECIMALS),
        "message": f"{message} {came}".strip(),
        "refund_of": beside.refund_of or None,
        "refund": beside.refund or None,
        "disputes": {village: text for village, text in sorted(written.items()) if text},
    }


def trade_public(found: Trade) -> dict[str, object]:
    """Return a trade in the mission's form, without people (`federation_trades.json`)."""
    terms = found.terms
    return {
        "id": found.id,
        "trade_id": terms.trade_id,
        "from_village": terms.from_village,
        "to_village": terms.to_village,
        "offer": _quantity_shown(terms.offer),
        "request": _quantity_shown(terms.request),
        "status": found.status,
        "subject": found.subject.hex(),
        "deadline": terms.deadline_minute * 60,
    }


def subject_shown(view: View, opened: Opened) -> dict[str, object]:
    """Return a trade of others that this village helps to decide: public terms, and no people."""
    terms, stands = opened.terms, standing.of_subject(view, opened)
    return {
        "id": trade.id_of(opened.id),
        "trade_id": terms.trade_id,
        "from_village": terms.from_village,
        "to_village": terms.to_village,
        "offer": _quantity_shown(terms.offer),
        "request": _quantity_shown(terms.request),
        "subject": opened.id.hex(),
        "deadline": terms.deadline_minute * 60,
        "opened_ms": opened.opened_ms,
        "decided": stands.decided,
        "message": standing.in_words(stands),
    }


def _quantity_shown(quantity: trade.Quantity) -> dict[str, str]:
    """Return one side of a trade; that of a gift is empty."""
    if not quantity.amount:
        return {}
    return {quantity.asset: names.amount_text(quantity.amount, quantity.decimals)}


def _side_shown(view: View, code: str, amount: int) -> dict[str, str]:
    if not amount:
        return {}
    return {code: names.amount_text(amount, ledger.asset(view, code).decimals)}


def _name(view: View, member: int) -> str:
    found = members.by_id(view, member)
    return found.name if found else "a member"


async def _member(box: Box, command: MemberAdd | MemberPin | MemberSteward) -> object:
    match command:
        case MemberAdd():
            name = await steward.add_member(box.runner, command.name, command.pin, command.steward)
            return {"member": name, "steward": command.steward}
        case MemberPin():
            return {"member": await steward.reset_pin(box.runner, command.name, command.pin)}
        case MemberSteward():
            member = await box.runner.write(
                lambda tx: desk.set_steward(tx, command.name, not command.remove)
            )
            return {"member": member.name, "steward": not command.remove}


async def _enter(box: Box, command: Pay | Issue | Declare | Consume | Limit) -> object:
    def enter(tx: Tx) -> bytes:
        match command:
            case Pay():
                index = desk.pay(
                    tx,
                    command.payer,
                    command.payee,
                    command.amount,
                    command.asset,
                    command.note,
                )
            case Issue():
                index = desk.issue(tx, command.payee, command.amount, command.note)
            case Declare():
                index = desk.declare(
                    tx, command.owner, command.resource, command.amount, command.decimals
                )
            case Consume():
                index = desk.consume(tx, command.owner, command.resource, command.amount)
            case Limit():
                index = desk.set_limit(tx, command.who, command.asset, command.amount)
        return str(index).encode()

    id_ = "" if isinstance(command, Limit) else command.id
    asked = msgspec.json.encode(command)
    done = await box.runner.write(
        lambda tx: members.once(tx, STEWARD, id_, asked, lambda: enter(tx))
    )
    said = await box.runner.read(lambda view: desk.done(view, int(done)))
    return {"record": int(done), "message": said}


async def _approve(box: Box, command: AssetApprove) -> object:
    asked = msgspec.json.encode(command)

    def approve(tx: Tx) -> bytes:
        return desk.approve(tx, command.resource, command.decimals).code.encode()

    code = await box.runner.write(
        lambda tx: members.once(tx, STEWARD, command.id, asked, lambda: approve(tx))
    )
    shown = words.asset_text(code.decode())
    return {"asset": code.decode(), "message": f"{shown} is in the catalogue now"}


async def _peer(box: Box, command: PeerInvite | PeerAdd) -> object:
    if isinstance(command, PeerAdd):
        return {"neighbour": await steward.join(box, command.invitation)}
    made = await box.runner.write(
        lambda tx: peering.invite(tx, command.valid_hours * 3_600, command.council_seats)
    )
    return {"invitation": invitation.to_text(made)}


async def _propose(box: Box, command: TradePropose) -> object:
    proposal = trade.Proposal(
        command.to_village,
        command.to_user,
        command.offer,
        command.request,
        command.deadline_hours * 3_600,
    )
    asked = msgspec.json.encode(command)

    def at_home(tx: Tx) -> bytes:
        return market.propose(tx, members.named(tx, command.member), proposal).id.encode()

    def to_neighbour(tx: Tx) -> bytes:
        member = members.named(tx, command.member)
        fee = trade.fee(command.offer, box.fee_basis_points)
        return trade_escrow.propose(tx, member, proposal, fee).subject

    def propose(tx: Tx) -> Swap:
        is_home = command.to_village in ("", tx.identity.village)
        do = at_home if is_home else to_neighbour
        answer = members.once(tx, STEWARD, command.id, asked, lambda: do(tx))
        return deals.named(tx, answer.decode()) if is_home else trades.by_subject(tx, answer)

    return await _after_step(box, await box.runner.write(propose))


async def _decide(box: Box, command: TradeAccept | TradeReject | TradeCancel) -> object:
    def decide(tx: Tx) -> Swap:
        found = swaps.named(tx, command.trade)
        if isinstance(found, Deal):
            mover = found.from_member if isinstance(command, TradeCancel) else found.to_member
            mine = members.by_id(tx, mover)
            assert mine is not None, "members are never deleted"
            return _HOME_STEPS[type(command)](tx, mine, found)
        member = members.by_id(tx, found.member) if found.member is not None else None
        if member is None and found.status in trade.ENDED:
            raise WrongState(f"the trade {trade.HOW_IT_STANDS[found.status]}: nothing is due")
        if member is None:
            raise Refused(f"trade {found.id} is addressed to nobody here")
        return _STEPS[type(command)](tx, member, found)

    return await _after_step(box, await box.runner.write(decide))


async def _go_on(box: Box, command: TradeDelivered | TradeDispute | TradeRefund) -> object:
    moved = await box.runner.write(lambda tx: after_settlement.go_on(tx, command))
    return await _after_step(box, moved)


async def _abandon(box: Box, command: TradeAbandon) -> object:
    evidence = abandon.read_evidence(command.evidence.encode()) if command.evidence else None

    def end(tx: Tx) -> Swap:
        found = swaps.named(tx, command.trade)
        return abandon.abandon(tx, found, "a steward", command.reason, evidence)

    return await _after_step(box, await box.runner.write(end))


def _receipt(view: View, id_: str) -> receipt.Receipt:
    found = deciding.swap_or_subject(view, id_)
    if isinstance(found, Deal):
        raise WrongState("a trade within the village has no receipt: one ledger has it all")
    if isinstance(found, Opened):
        return trade_receipt.of_subject(view, found)
    return trade_receipt.of_trade(view, found)


def _named_in_full(view: View, id_: str) -> dict[str, object]:
    return _in_full(view, deciding.swap_or_subject(view, id_))


def _in_full(view: View, found: Swap | Opened) -> dict[str, object]:
    """Return a trade with what each seat has said of it; one at home has none."""
    if isinstance(found, Opened):
        how = msgspec.to_builtins(standing.of_subject(view, found))
        return subject_shown(view, found) | {"standing": how}
    if isinstance(found, Deal):
        return deal_shown(view, found) | {"standing": None}
    how = msgspec.to_builtins(standing.of(view, found))
    return trade_shown(view, found) | {"standing": how}


async def _look_after(box: Box, command: TradeRetry | TradeAbandon | GoOn) -> object:
    match command:
        case GoOn():
            return {"not_asked": await box.runner.write(taking_back.go_on)}
        case TradeRetry():
            return await _retry(box, command)
        case TradeAbandon():
            return await _abandon(box, command)


async def _retry(box: Box, command: TradeRetry) -> object:
    """Speak with every seat of a trade now, rather than when it is next due, and show the trade."""
    found = await box.runner.read(lambda view: deciding.swap_or_subject(view, command.trade))
    if not isinstance(found, Deal):
        known = await box.runner.read(neighbours.everyone)
        seats = {seat.village for seat in found.terms.seats} & {each.village for each in known}
        await asyncio.gather(*(steward.tell(box, village) for village in sorted(seats)))
    return await box.runner.read(lambda view: _named_in_full(view, command.trade))


async def _after_step(box: Box, moved: Swap) -> object:
    """Tell the neighbour, waiting a little for what comes of it, and show the trade. Of one at home
    the neighbours only hear what it left of a listing."""
    if isinstance(moved, Deal):
        if box.serving:
            box.client.kick_all()
        return await box.runner.read(lambda view: deal_shown(view, moved))
    await steward.tell(box, moved.neighbour)
    return await box.runner.read(
        lambda view: trade_shown(view, trades.by_subject(view, moved.subject))
    )


_STEPS: Final[Mapping[type[AnyCommand], Callable[[Tx, Member, Trade], Trade]]] = {
    TradeAccept: trade_escrow.accept,
    TradeReject: trade_escrow.reject,
    TradeCancel: trade_escrow.cancel,
}
_HOME_STEPS: Final[Mapping[type[AnyCommand], Callable[[Tx, Member, Deal], Deal]]] = {
    TradeAccept: market.accept,
    TradeReject: market.reject,
    TradeCancel: market.cancel,
}


async def _import_registry(box: Box, command: ImportRegistry) -> object:
    entries = registry.decode_list(command.file.encode())

    def keep(tx: Tx) -> object:
        others = [each for each in entries if each.village_id != tx.identity.village]
        before = {entry.village_id for entry, _, _ in neighbours.candidates(tx)}
        new = 0
        for entry in others:
            known = neighbours.find(tx, entry.village_id)
            if known is not None:
                neighbours.keep_entry(tx, known, entry)
            else:
                neighbours.keep_candidate(tx, entry, "import")
                new += entry.village_id not in before
        return {"villages": len(others), "new": new}

    return await box.runner.write(keep)


def _neighbours(box: Box, view: View) -> list[dict[str, object]]:
    everyone = neighbours.everyone(view)
    heard = box.health(view).neighbours if everyone else []
    decide_too = {each.village: each.decide_too for each in heard}
    return [
        {
            "village": each.village,
            "name": each.entry.name,
            "addresses": list(each.addresses),
            "records_held": logs.size_of(view, each.log),
            "holds_of_ours": each.has_size,
            "last_contact": each.last_contact_ms // 1000,
            "open_trades": trades.count_open(view, neighbour=each.village),
            "trouble": each.trouble,
            "misbehaviour": [found.text for found in kept.of(view, each.village, each.key)],
            "lines": msgspec.to_builtins(desk.lines(view, each.village)),
            "decide_too": decide_too[each.village],
        }
        for each in everyone
    ]


def _candidates(view: View) -> list[dict[str, object]]:
    return [
        {"village": entry.village_id, "name": entry.name, "source": source, "seen": seen // 1000}
        for entry, source, seen in neighbours.candidates(view)
    ]
