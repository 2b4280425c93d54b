"""A steward's commands: over the running box's Unix socket, or run beside no box at all.

Each command is one class; `run` has one arm for each. A command that changes something carries an
id, so that asking again after a lost answer does it once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import msgspec
from aiohttp import web

from edge import desk, errors, peering, trade_escrow
from edge.core import (
    canonical,
    crypto,
    invitation,
    limits,
    messages,
    names,
    receipt,
    registry,
    trade,
    words,
)
from edge.core.names import TOKEN
from edge.errors import BoxError, InvalidInput, NoBox, PeerError, Refused, Unreachable
from edge.federation_client import FederationClient
from edge.peering import Profile
from edge.storage import logs, members, neighbours, trades
from edge.storage.tx import OWN_LOG, Runner, Tx, View
from edge.transport import problems
from edge.transport.client import Endpoint

SOCKET = "control.sock"
COMMAND_S_MAX = 600
SETTLE_S_MAX = 10
STEWARD = "steward"
_log = logging.getLogger(__name__)
REFUSED = HTTPStatus.UNPROCESSABLE_ENTITY


Hours = Annotated[int, msgspec.Meta(ge=-10_000, le=10_000)]  # a number; its rule comes later


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command"):
    pass


class MemberAdd(Command, frozen=True, tag="member add"):
    name: str
    pin: str


class Pay(Command, frozen=True, tag="pay"):
    payer: str
    payee: str
    amount: str
    asset: str = TOKEN
    note: str = ""
    id: str = ""


class Issue(Command, frozen=True, tag="issue"):
    payee: str
    amount: str
    note: str = ""
    id: str = ""


class Declare(Command, frozen=True, tag="declare"):
    owner: str
    resource: str
    amount: str = "1"
    decimals: Annotated[int, msgspec.Meta(ge=-100, le=100)] = 0
    id: str = ""


class Consume(Command, frozen=True, tag="consume"):
    owner: str
    resource: str
    amount: str = "1"
    id: str = ""


class Limit(Command, frozen=True, tag="limit"):
    who: str
    asset: str
    amount: str


class PeerInvite(Command, frozen=True, tag="peer invite"):
    valid_hours: Hours = 168


class PeerAdd(Command, frozen=True, tag="peer add"):
    invitation: str


class PeerList(Command, frozen=True, tag="peer list"):
    pass


class TradePropose(Command, frozen=True, tag="trade propose"):
    member: str
    to_user: str
    to_village: str
    offer: tuple[str, str]
    request: tuple[str, str]
    deadline_hours: Hours = limits.DEADLINE_S_DEFAULT // 3_600
    id: str = ""


class TradeAccept(Command, frozen=True, tag="trade accept"):
    trade: str


class TradeReject(Command, frozen=True, tag="trade reject"):
    trade: str


class TradeCancel(Command, frozen=True, tag="trade cancel"):
    trade: str


class TradeList(Command, frozen=True, tag="trade list"):
    pass


class Status(Command, frozen=True, tag="status"):
    pass


class ExportRegistry(Command, frozen=True, tag="export registry"):
    pass


class ExportTrades(Command, frozen=True, tag="export trades"):
    pass


class ExportReceipt(Command, frozen=True, tag="export receipt"):
    trade: str


class ImportRegistry(Command, frozen=True, tag="import registry"):
    file: str


AnyCommand = (
    MemberAdd
    | Pay
    | Issue
    | Declare
    | Consume
    | Limit
    | PeerInvite
    | PeerAdd
    | PeerList
    | TradePropose
    | TradeAccept
    | TradeReject
    | TradeCancel
    | TradeList
    | Status
    | ExportRegistry
    | ExportTrades
    | ExportReceipt
    | ImportRegistry
)
_decoder: "msgspec.json.Decoder[AnyCommand]" = msgspec.json.Decoder(AnyCommand)
PostTo = Callable[[str, Endpoint, str, bytes], Awaitable[bytes]]


class _Refusal(msgspec.Struct, frozen=True):
    """An error on its way to the box's own steward, who may know all of it."""

    slug: str
    detail: str
    more: dict[str, str | int]


class Box(msgspec.Struct, frozen=True):
    """What commands use of a box. `post_to` speaks to a village that is no neighbour yet."""

    runner: Runner
    client: FederationClient
    post_to: PostTo
    profile: Profile
    fee_basis_points: int
    health: Callable[[View], dict[str, object]]
    on_new_neighbour: Callable[[], None]
    serving: bool


def check(command: AnyCommand) -> None:
    """Raise InvalidInput unless the command can travel: texts in UTF-8, numbers of a sane size."""
    try:
        _decoder.decode(msgspec.json.encode(command))
    except (UnicodeEncodeError, msgspec.DecodeError, OverflowError):
        raise InvalidInput("an argument is not text in UTF-8, or a number far too large") from None


async def run(box: Box, command: AnyCommand) -> object:
    """Do a command and return what there is to show, as plain JSON values."""
    match command:
        case MemberAdd():
            return await _member_add(box, command)
        case Pay() | Issue() | Declare() | Consume() | Limit():
            return await _enter(box, command)
        case PeerInvite():
            made = await box.runner.write(
                lambda tx: peering.invite(tx, command.valid_hours * 3_600)
            )
            return {"invitation": invitation.to_text(made)}
        case PeerAdd():
            return await _peer_add(box, command)
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
        case PeerList():
            return {"neighbours": _neighbours(view), "candidates": _candidates(view)}
        case TradeList():
            return [trade_shown(found) for found in trades.everyone(view)]
        case Status():
            return box.health(view)
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
        "id": found.id,
        "from_user": found.from_user,
        "to_user": found.to_user,
        "fee": names.amount_text(terms.from_fee, names.TOKEN_DECIMALS),
        "message": words.describe(
            found.role,
            found.status,
            terms,
            found.from_user,
            found.to_user,
            found.reason,
            yours=False,
            told=found.told,
        ),
    }


def trade_public(found: trades.Trade) -> dict[str, object]:
    """Return a trade in the mission's form, without people (`federation_trades.json`)."""
    terms = found.terms
    return {
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


async def _member_add(box: Box, command: MemberAdd) -> object:
    name = names.member_name(command.name)
    pin_hash = await asyncio.to_thread(crypto.hash_pin, desk.check_pin_text(command.pin))
    await box.runner.write(lambda tx: desk.add_member(tx, name, pin_hash))
    return {"member": name}


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
    return {"record": int(done)}


async def _peer_add(box: Box, command: PeerAdd) -> object:
    invited = invitation.from_text(command.invitation)
    message = await box.runner.write(lambda tx: peering.take_up(tx, invited))
    endpoint = Endpoint(invited.addresses, invited.spki_sha256)
    body = messages.encode(message)
    answer = await box.post_to(invited.village_id, endpoint, peering.REGISTER_PATH, body)
    answered = messages.decode_registered(answer)
    await box.runner.write(lambda tx: peering.complete(tx, invited, message, answered, box.profile))
    box.on_new_neighbour()
    await _exchange(box, invited.village_id)
    return {"neighbour": invited.village_id}


async def _propose(box: Box, command: TradePropose) -> object:
    proposal = trade_escrow.Proposal(
        command.to_village,
        command.to_user,
        command.offer,
        command.request,
        command.deadline_hours * 3_600,
    )
    asked = msgspec.json.encode(command)

    def propose(tx: Tx) -> bytes:
        member = members.named(tx, command.member)
        fee = trade.fee(*command.offer, box.fee_basis_points)
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
    await _exchange(box, found.neighbour)
    found = await box.runner.read(lambda view: trades.by_subject(view, subject))
    return trade_shown(found)


async def _exchange(box: Box, village: str) -> None:
    """Tell a neighbour what is stored. If that fails the command is done all the same, and a box
    that serves goes on trying."""
    try:
        async with asyncio.timeout(SETTLE_S_MAX):
            await box.client.exchange(village)
    except (Unreachable, PeerError, Refused, TimeoutError) as error:
        _log.info("%s has not been told yet: %s", village, error)
        if box.serving:
            box.client.kick(village)


async def _import_registry(box: Box, command: ImportRegistry) -> object:
    entries = registry.decode_list(command.file.encode())

    def keep(tx: Tx) -> int:
        others = [each for each in entries if each.village_id != tx.identity.village]
        for entry in others:
            known = neighbours.find(tx, entry.village_id)
            if known is not None:
                neighbours.keep_entry(tx, known, entry)
            else:
                neighbours.keep_candidate(tx, entry, "import")
        return len(others)

    return {"villages": await box.runner.write(keep)}


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
        }
        for each in neighbours.everyone(view)
    ]


def _candidates(view: View) -> list[dict[str, object]]:
    return [
        {"village": entry.village_id, "name": entry.name, "source": source, "seen": seen // 1000}
        for entry, source, seen in neighbours.candidates(view)
    ]


def own_log(view: View) -> dict[str, object]:
    """Return the own log's newest checkpoint, and how far others have cosigned it."""
    last = logs.last_checkpoint(view, OWN_LOG)
    assert last is not None, "a village's log begins with its first record"
    size, by = logs.last_cosigned(view, OWN_LOG)
    return {"size": last[0], "root": last[1].hex(), "cosigned_size": size, "cosigned_by": by}


# The socket


def application(box: Box, on_broken_law: Callable[[AssertionError], None]) -> web.Application:
    """Serve commands as POST / on the Unix socket, whose file mode lets only the owner in."""

    async def command(request: web.Request) -> web.Response:
        body = await request.read()
        try:
            decoded = _decoder.decode(body)
        except canonical.UNREADABLE as error:
            raise InvalidInput(f"not a command: {error}") from None
        try:
            result = await run(box, decoded)
        except BoxError as error:
            refused = _Refusal(error.slug, error.detail, error.more)
            return web.Response(status=REFUSED, body=msgspec.json.encode(refused))
        return web.Response(body=msgspec.json.encode(result), content_type="application/json")

    app = web.Application(
        middlewares=[problems.middleware(on_broken_law)],
        client_max_size=registry.REGISTRY_BYTES_MAX * 2,
    )
    app.router.add_post("/", command)
    return app


async def ask(socket: Path, command: AnyCommand) -> Any:
    """Have the running box do a command. Raises NoBox if none runs there, Unreachable if it went
    away before it answered, else what the box raised."""
    connector = aiohttp.UnixConnector(path=str(socket))
    timeout = aiohttp.ClientTimeout(total=COMMAND_S_MAX)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        try:
            async with session.post("http://box/", data=msgspec.json.encode(command)) as response:
                body = await response.read()
        except aiohttp.ClientConnectorError as error:
            raise NoBox(f"no box answers on {socket}: {error.strerror}") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(
                f"the box went away before it answered ({error}): ask again, with the same --id"
            ) from None
    if response.status == REFUSED:
        refusal = msgspec.json.decode(body, type=_Refusal)
        raise errors.by_slug(refusal.slug)(refusal.detail, **refusal.more)
    if response.status != HTTPStatus.OK:
        raise problems.from_problem(response.status, body, "the box")
    return msgspec.json.decode(body)
