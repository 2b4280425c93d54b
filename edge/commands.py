"""Doing a steward's commands: `run` has one arm for each class of control.py."""

import msgspec

from edge import desk, peering, steward, trade_escrow
from edge.control import (
    AnyCommand,
    Consume,
    Declare,
    ExportReceipt,
    ExportRegistry,
    ExportTrades,
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
    TradeAccept,
    TradeCancel,
    TradeList,
    TradePropose,
    TradeReject,
)
from edge.core import invitation, names, receipt, registry, trade, words
from edge.errors import Refused
from edge.steward import Box
from edge.storage import logs, members, neighbours, trades
from edge.storage.tx import Tx, View

STEWARD = "steward"  # whose ids the answers to commands are kept under


async def run(box: Box, command: AnyCommand) -> object:
    """Do a command and return what there is to show, as plain JSON values."""
    match command:
        case MemberAdd() | MemberPin() | MemberSteward():
            return await _member(box, command)
        case Pay() | Issue() | Declare() | Consume() | Limit():
            return await _enter(box, command)
        case PeerInvite():
            made = await box.runner.write(
                lambda tx: peering.invite(tx, command.valid_hours * 3_600)
            )
            return {"invitation": invitation.to_text(made)}
        case PeerAdd():
            return {"neighbour": await steward.join(box, command.invitation)}
        case TradePropose():
            return await _propose(box, command)
        case TradeAccept() | TradeReject() | TradeCancel():
            return await _decide(box, command)
        case ImportRegistry():
            return await _import_registry(box, command)
        case _:
            return await box.runner.read(lambda view: _look(box, view, command))


def _look(box: Box, view: View, command: AnyCommand) -> object:
    match command:
        case MemberList():
            return msgspec.to_builtins(desk.members_listed(view))
        case PeerList():
            return {"neighbours": _neighbours(view), "candidates": _candidates(view)}
        case TradeList():
            return [trade_shown(found) for found in trades.everyone(view)]
        case Status():
            return msgspec.to_builtins(box.health(view))
        case ExportRegistry():
            return registry.encode_list(peering.listed(view)).decode()
        case ExportTrades():
            return [trade_public(found) for found in trades.everyone(view, limit=100_000)]
        case ExportReceipt():
            found = trades.named(view, command.trade)
            return receipt.encode(trade_escrow.receipt(view, found)).decode()
    raise AssertionError(f"no arm for {type(command).__name__}")


def trade_shown(found: trades.Trade) -> dict[str, object]:
    """Return a trade as its own village's people see it."""
    terms = found.terms
    return trade_public(found) | {
        "from_user": found.from_user,
        "to_user": found.to_user,
        "fee": names.amount_text(
            terms.from_fee if found.role == "from" else terms.to_fee, names.TOKEN_DECIMALS
        ),
        "message": words.describe(
            found.role,
            found.status,
            terms,
            found.from_user,
            found.to_user,
            found.reason,
            yours=False,
            told=found.told,
            addressed=found.addressed,
        ),
    }


def trade_public(found: trades.Trade) -> dict[str, object]:
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


def _quantity_shown(quantity: trade.Quantity) -> dict[str, str]:
    return {quantity.asset: names.amount_text(quantity.amount, quantity.decimals)}


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


async def _propose(box: Box, command: TradePropose) -> object:
    proposal = trade.Proposal(
        command.to_village,
        command.to_user,
        command.offer,
        command.request,
        command.deadline_hours * 3_600,
    )
    asked = msgspec.json.encode(command)

    def propose(tx: Tx) -> bytes:
        member = members.named(tx, command.member)
        fee = trade.fee(command.offer, box.fee_basis_points)
        made = trade_escrow.propose(tx, member, proposal, fee)
        return made.subject

    subject = await box.runner.write(
        lambda tx: members.once(tx, STEWARD, command.id, asked, lambda: propose(tx))
    )
    return await _after_step(box, subject)


async def _decide(box: Box, command: TradeAccept | TradeReject | TradeCancel) -> object:
    step = {
        TradeAccept: trade_escrow.accept,
        TradeReject: trade_escrow.reject,
        TradeCancel: trade_escrow.cancel,
    }[type(command)]

    def decide(tx: Tx) -> bytes:
        found = trades.named(tx, command.trade)
        member = members.by_id(tx, found.member) if found.member is not None else None
        if member is None:
            raise Refused(f"trade {found.id} is addressed to nobody here")
        return step(tx, member, found).subject

    return await _after_step(box, await box.runner.write(decide))


async def _after_step(box: Box, subject: bytes) -> object:
    """Tell the neighbour, waiting a little for what comes of it, and show the trade."""
    found = await box.runner.read(lambda view: trades.by_subject(view, subject))
    await steward.tell(box, found.neighbour)
    found = await box.runner.read(lambda view: trades.by_subject(view, subject))
    return trade_shown(found)


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


def _neighbours(view: View) -> list[dict[str, object]]:
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
            "lines": msgspec.to_builtins(desk.lines(view, each.village)),
        }
        for each in neighbours.everyone(view)
    ]


def _candidates(view: View) -> list[dict[str, object]]:
    return [
        {"village": entry.village_id, "name": entry.name, "source": source, "seen": seen // 1000}
        for entry, source, seen in neighbours.candidates(view)
    ]
