"""A steward's commands, and the Unix socket on which they travel to the running box.

Each command is one class; `commands.run` does it. One that changes something carries an id, so that
asking again after a lost answer does it once.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import msgspec
from aiohttp import web

from edge import errors
from edge.core import canonical, limits, registry
from edge.core.names import TOKEN
from edge.errors import BoxError, InvalidInput, NoBox, Unreachable
from edge.transport import problems

SOCKET = "control.sock"
COMMAND_S_MAX = 600
REFUSED = HTTPStatus.UNPROCESSABLE_ENTITY


Hours = Annotated[int, msgspec.Meta(ge=-10_000, le=10_000)]  # a number; its rule comes later


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command"):
    pass


class MemberAdd(Command, frozen=True, tag="member add"):
    name: str
    pin: str
    steward: bool = False


class MemberSteward(Command, frozen=True, tag="member steward"):
    name: str
    remove: bool = False


class MemberPin(Command, frozen=True, tag="member pin"):
    name: str
    pin: str


class MemberList(Command, frozen=True, tag="member list"):
    pass


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


class AssetApprove(Command, frozen=True, tag="asset approve"):
    resource: str
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
    council_seats: Annotated[int, msgspec.Meta(ge=-100, le=100)] = 4


class PeerAdd(Command, frozen=True, tag="peer add"):
    invitation: str


class PeerList(Command, frozen=True, tag="peer list"):
    pass


class TradePropose(Command, frozen=True, tag="trade propose"):
    """An empty `to_village` is this one; of `offer` and `request` one may be None, for a gift."""

    member: str
    to_user: str
    to_village: str
    offer: tuple[str, str] | None
    request: tuple[str, str] | None
    deadline_hours: Hours = limits.DEADLINE_S_DEFAULT // 3_600
    id: str = ""


class TradeAccept(Command, frozen=True, tag="trade accept"):
    trade: str


class TradeReject(Command, frozen=True, tag="trade reject"):
    trade: str


class TradeCancel(Command, frozen=True, tag="trade cancel"):
    trade: str


class TradeDelivered(Command, frozen=True, tag="trade delivered"):
    trade: str


class TradeDispute(Command, frozen=True, tag="trade dispute"):
    """An empty `reason` erases what was written."""

    trade: str
    reason: str


class TradeRefund(Command, frozen=True, tag="trade refund"):
    """For the member of this village whose trade it is. `tokens`: how much of its AT is to be given
    back; empty: all."""

    trade: str
    id: str = ""
    tokens: str = ""


class TradeShow(Command, frozen=True, tag="trade show"):
    trade: str


class TradeRetry(Command, frozen=True, tag="trade retry"):
    trade: str


class TradeAbandon(Command, frozen=True, tag="trade abandon"):
    """`evidence` is a receipt's text."""

    trade: str
    reason: str = ""
    evidence: str = ""


class TradeList(Command, frozen=True, tag="trade list"):
    """`deciding`: those of others that this village helps to decide."""

    deciding: bool = False


class GoOn(Command, frozen=True, tag="restore"):
    """After a restore: do not wait for neighbours that have not been asked."""


class Status(Command, frozen=True, tag="status"):
    pass


class ExportRegistry(Command, frozen=True, tag="export registry"):
    pass


class ExportTrades(Command, frozen=True, tag="export trades"):
    pass


class ExportReceipt(Command, frozen=True, tag="export receipt"):
    trade: str


class ExportMisbehaviour(Command, frozen=True, tag="export misbehaviour"):
    pass


class ExportProof(Command, frozen=True, tag="export proof"):
    """Of record `index` of a neighbour's log, or with an empty `village` of the own; `unwitnessed`:
    also by a checkpoint that no other village has cosigned."""

    index: Annotated[int, msgspec.Meta(ge=-limits.COUNTER_MINOR_MAX, le=limits.COUNTER_MINOR_MAX)]
    village: str = ""
    unwitnessed: bool = False


class ImportRegistry(Command, frozen=True, tag="import registry"):
    file: str


AnyCommand = (
    MemberAdd
    | MemberSteward
    | MemberPin
    | MemberList
    | Pay
    | Issue
    | Declare
    | AssetApprove
    | Consume
    | Limit
    | PeerInvite
    | PeerAdd
    | PeerList
    | TradePropose
    | TradeAccept
    | TradeReject
    | TradeCancel
    | TradeDelivered
    | TradeDispute
    | TradeRefund
    | TradeShow
    | TradeRetry
    | TradeAbandon
    | TradeList
    | GoOn
    | Status
    | ExportRegistry
    | ExportTrades
    | ExportReceipt
    | ExportMisbehaviour
    | ExportProof
    | ImportRegistry
)
_decoder: "msgspec.json.Decoder[AnyCommand]" = msgspec.json.Decoder(AnyCommand)


class _Refusal(msgspec.Struct, frozen=True):
    """An error on its way to the box's own steward, who may know all of it."""

    slug: str
    detail: str
    more: dict[str, str | int]


def check(command: AnyCommand) -> None:
    """Raise InvalidInput unless the command can travel: texts in UTF-8, numbers of a sane size."""
    try:
        _decoder.decode(msgspec.json.encode(command))
    except (UnicodeEncodeError, msgspec.DecodeError, OverflowError):
        raise InvalidInput("an argument is not text in UTF-8, or a number far too large") from None


def application(
    run: Callable[[AnyCommand], Awaitable[object]], on_broken_law: Callable[[AssertionError], None]
) -> web.Application:
    """Serve commands as POST / on the Unix socket, whose file mode lets only the owner in. `run`
    does one and returns plain JSON values."""

    async def command(request: web.Request) -> web.Response:
        body = await request.read()
        try:
            decoded = _decoder.decode(body)
        except canonical.UNREADABLE as error:
            raise InvalidInput(f"not a command: {error}") from None
        try:
            result = await run(decoded)
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
