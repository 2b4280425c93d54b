"""What all groups of handlers share: the parts of the box, who asks, a form read, a trade begun."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from edge import trade_escrow
from edge.core import trade, words
from edge.core.trade import ENDED, Proposal, Status
from edge.errors import BoxError, Conflict, InvalidInput, Refused
from edge.health import Health
from edge.storage import members, trades
from edge.storage.members import Member
from edge.storage.trades import Trade
from edge.storage.tx import Runner, Tx, View
from edge.web import forms, sessions, views
from edge.web.forms import Form
from edge.web.frame import Frame
from edge.web.sign_in import RunBlocking

LOOKS: Final = 40  # at a trade, before the page says "waiting": 2 s
LOOK_EVERY_S: Final = 0.05
F = TypeVar("F", bound=Form)
Committed = Callable[[int], Awaitable[int]]  # Store.committed


@dataclass(frozen=True, slots=True)
class Shop:
    """What the pages need of the box.

    `committed(stamp)`: wait for a later batch of writes. `kick(village)`: exchange with that
    neighbour now; `announce()`: with all of them. `speak(village)` exchanges, and gives in words
    why that failed, or nothing. `join(line)`: take up an invitation; it gives
    the village that invites. `health`: how the box is. `session_key`: 32 bytes. `run_blocking` runs
    a function on another thread. `random(count)` gives that many bytes.
    """

    runner: Runner
    committed: Committed
    kick: Callable[[str], None]
    speak: Callable[[str], Awaitable[str]]
    announce: Callable[[], None]
    join: Callable[[str], Awaitable[str]]
    health: Callable[[View], Health]
    session_key: bytes
    village: str
    village_name: str
    fee_basis_points: int
    run_blocking: RunBlocking
    now_ms: Callable[[], int]
    monotonic_s: Callable[[], float]
    random: Callable[[int], bytes]
    on_broken_law: Callable[[AssertionError], None]


class Handlers:
    """The base of each group of handlers."""

    def __init__(self, shop: Shop, frame: Frame) -> None:
        self._shop = shop
        self._runner = shop.runner
        self._frame = frame

    async def _member(self, request: web.Request) -> Member:
        return await sessions.member_of(request, self._runner)

    async def _form(self, request: web.Request, kind: type[F]) -> tuple[Member, F]:
        form = await forms.read(request, kind)
        member = await self._member(request)  # as late as can be: a body may come slowly
        await sessions.check_token(request, form.csrf)
        if not form.form:
            raise InvalidInput("not a form of this page: it has no id")
        return member, form

    async def _once(
        self, member: Member, id_: str, asked: bytes, do: Callable[[Tx], bytes]
    ) -> bytes:
        scope = views.scope(member)

        def write(tx: Tx) -> bytes:
            sessions.check_still(tx, member)
            return members.once(tx, scope, id_, asked, lambda: do(tx))

        try:
            return await self._runner.write(write)
        except Refused as error:
            error.detail = words.spoken_to(error.detail, member.name)
            raise

    async def _propose(
        self, member: Member, id_: str, asked: bytes, proposal: Proposal, fee: int
    ) -> Trade:
        subject = await self._once(
            member,
            id_,
            asked,
            lambda tx: trade_escrow.propose(tx, member, proposal, fee).subject,
        )
        return await self._pass_on(subject)

    async def _pass_on(self, subject: bytes) -> Trade:
        """Have the neighbour told, and give it a moment to answer: most see the end at once."""
        known = await self._look(subject)
        self._shop.kick(known.neighbour)
        for _ in range(LOOKS):
            known = await self._look(subject)
            if known.status in ENDED or (known.status is Status.PENDING and known.told):
                break
            await asyncio.sleep(LOOK_EVERY_S)
        return known

    async def _look(self, subject: bytes) -> Trade:
        return await self._runner.read(lambda view: trades.by_subject(view, subject))

    def _again(self, form: F, error: BoxError) -> F:
        """Return a refused form to be sent again; one whose id is used up gets a new one."""
        if isinstance(error, Conflict):
            return msgspec.structs.replace(form, form=self._frame.form_id())
        return form

    def _fee(self, proposal: Proposal) -> int:
        return trade.fee(proposal.offer, self._shop.fee_basis_points)

    def _now(self) -> int:
        return self._shop.now_ms()
