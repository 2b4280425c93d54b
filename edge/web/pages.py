"""The pages of a village's box: sign in, pay, trade. Rendered here, no script needed.

What a form asks and cannot have comes back with what was typed and the reason beside it; what it
does ends in a redirect, and is done once: each form has an id.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import aiohttp_session
import msgspec
from aiohttp import web

from edge import desk, market, trade_delivery, trade_escrow
from edge.core import canonical, limits, names, receipt, words
from edge.core.trade import Proposal
from edge.errors import BoxError, InvalidInput, NotSignedIn, PeerError, Refused, TooMany
from edge.storage.members import Member
from edge.storage.trades import Trade
from edge.storage.tx import Tx, View
from edge.transport import problems
from edge.transport.signed import check_depth, read_body
from edge.web import forms, member_trade, sessions, views
from edge.web.api import Api, challenge
from edge.web.desk_trades import TradeDesk
from edge.web.feed import Events, Feed
from edge.web.forms import DisputeForm, Form, PayForm, ProposeForm, RefundForm, SignInForm
from edge.web.frame import JSON, WAIT_S, Frame, is_for_programs, status_of
from edge.web.handlers import Handlers, Shop
from edge.web.market import Market
from edge.web.sign_in import SignIn
from edge.web.steward import Desk
from edge.web.token_pages import TokenPages
from edge.web.wallet import WalletPages

BODY_BYTES_MAX: Final = 16_384
STEPS: Final[Mapping[str, Callable[[Tx, Member, Trade], Trade]]] = {
    "accept": trade_escrow.accept,
    "reject": trade_escrow.reject,
    "cancel": trade_escrow.cancel,
    "delivered": trade_delivery.deliver,
}


def make_page(shop: Shop) -> web.Application:
    """Return the application; it may be served on several sockets, with and without TLS."""
    frame = Frame(shop.village, shop.village_name, shop.random)
    storage = sessions.CookieStorage(shop.session_key, shop.village)
    app = web.Application(
        middlewares=[
            aiohttp_session.session_middleware(storage),
            frame.errors_as_pages,
            problems.middleware(shop.on_broken_law),
        ],
        client_max_size=BODY_BYTES_MAX,
    )
    frame.attach(app)
    door = SignIn(shop.runner, shop.run_blocking, shop.monotonic_s)
    feed = Feed(shop)
    groups = (
        Pages(shop, frame, door, feed),
        WalletPages(shop, frame, door),
        Market(shop, frame),
        Desk(shop, frame),
        TradeDesk(shop, frame),
        TokenPages(shop, frame, feed),
        Events(shop, frame, feed),
        Api(shop, frame, feed),
    )
    app.cleanup_ctx.append(feed.running)
    app.on_shutdown.append(feed.end)
    app.on_response_prepare.append(challenge)
    for group in groups:
        app.add_routes(_and_back(group.routes()))
    return app


def _and_back(routes: list[web.RouteDef]) -> list[web.RouteDef]:
    """Add for each address that a form is sent to: who opens it is led to the page of that form. A
    refused form's answer stands there, and is reloaded from there."""
    shown = {route.path for route in routes if route.method == "GET"}
    sent = {route.path for route in routes if route.method == "POST"}
    return [
        *routes,
        *(web.get(path, _back) for path in sorted(sent - shown) if not is_for_programs(path)),
    ]


async def _back(request: web.Request) -> web.Response:
    raise web.HTTPSeeOther(request.path.rpartition("/")[0] or "/")


class Pages(Handlers):
    """The handlers. Reading is one transaction for each page, so that it shows one state."""

    def __init__(self, shop: Shop, frame: Frame, door: SignIn, feed: Feed) -> None:
        super().__init__(shop, frame)
        self._door = door
        self._feed = feed

    def routes(self) -> list[web.RouteDef]:
        one = "/trades/{id:[0-9a-f]{16}}"
        return [
            web.get("/", self.home),
            web.post("/sign-in", self.sign_in),
            web.post("/sign-out", self.sign_out),
            web.post("/pay", self.pay),
            web.post("/propose", self.propose),
            web.get(one, self.trade),
            web.get(f"{one}/receipt", self.receipt),
            web.post(f"{one}/{{step:accept|reject|cancel|delivered}}", self.step),
            web.post(f"{one}/dispute", self.dispute),
            web.post(f"{one}/refund", self.refund),
            web.post("/federation/trade", self.post_trade),
        ]

    # Looking

    async def home(self, request: web.Request) -> web.Response:
        """GET /: the sign-in form, or what a member has and may do."""
        try:
            member = await self._member(request)
        except NotSignedIn:
            return await self._frame.page(request, "sign-in.html", {"name": "", "error": ""})
        form = request.query.get("paid", "")
        done = await self._runner.read(lambda view: views.payment(view, member, form))
        return await self._home(request, member, {"done": done})

    async def trade(self, request: web.Request) -> web.Response:
        """GET /trades/{id}"""
        member = await self._member(request)
        return await self._trade(request, member, request.match_info["id"])

    async def receipt(self, request: web.Request) -> web.Response:
        """GET /trades/{id}/receipt: the file that proves how a trade ended."""
        member, id_ = await self._member(request), request.match_info["id"]

        def make(view: View) -> bytes:
            return receipt.encode(trade_escrow.receipt(view, views.own_trade(view, member, id_)))

        name = f'attachment; filename="receipt-{id_}.json"'
        return web.Response(
            body=await self._runner.read(make),
            content_type=JSON,
            headers={"Content-Disposition": name},
        )

    # Signing in and out

    async def sign_in(self, request: web.Request) -> web.Response:
        """POST /sign-in: people's form, or from their programs JSON with name and pin."""
        if request.content_type == JSON:
            return await self._sign_in_program(request)
        form = await forms.read(request, SignInForm)
        try:
            await sessions.check_token(request, form.csrf)
            await self._open(request, form.name, form.pin)
        except Refused as error:
            context = {"name": form.name, "error": error.detail}
            return await self._frame.page(request, "sign-in.html", context, status_of(error))
        raise web.HTTPSeeOther("/")

    async def sign_out(self, request: web.Request) -> web.Response:
        form = await forms.read(request, Form)
        await sessions.check_token(request, form.csrf)
        claim = await sessions.claim_of(request)
        await sessions.end(request, self._runner)
        if claim is not None:
            self._feed.wake(claim.member)
        raise web.HTTPSeeOther("/")

    # Doing

    async def pay(self, request: web.Request) -> web.Response:
        """POST /pay: move an amount to another account of this village."""
        member, form = await self._form(request, PayForm)

        def pay(tx: Tx) -> bytes:
            index = desk.pay(tx, member.name, form.payee, form.amount, form.asset, form.note)
            return str(index).encode()

        try:
            await self._once(member, f"pay:{form.form}", form.asked, pay)
        except Refused as error:
            context = {"pay": self._again(form, error), "pay_error": error.detail}
            return await self._home(request, member, context, status_of(error))
        raise web.HTTPSeeOther(f"/?paid={form.form}#done")

    async def propose(self, request: web.Request) -> web.Response:
        """POST /propose: offer a trade, with a neighbour or at home. If it costs a fee to which the
        form does not agree yet, nothing is done: the page shows the fee and asks again."""
        member, form = await self._form(request, ProposeForm)
        try:
            proposal = form.proposal
            fee = 0 if self._is_home(proposal) else self._fee(proposal)
            if fee > form.agreed_fee:
                return await self._home(request, member, _fee_shown(form, fee))
            path = await self._offer(member, form, proposal, fee)
        except (Refused, PeerError) as error:
            context = {"propose": self._again(form, error), "propose_error": error.detail}
            return await self._home(request, member, context, status_of(error))
        raise web.HTTPSeeOther(path)

    async def step(self, request: web.Request) -> web.Response:
        """POST /trades/{id}/accept, reject, cancel or delivered."""
        member, form = await self._form(request, Form)
        id_, name = request.match_info["id"], request.match_info["step"]

        def take(tx: Tx) -> bytes:
            return STEPS[name](tx, member, views.own_trade(tx, member, id_)).subject

        try:
            asked = f"{name} {id_}".encode()
            subject = await self._once(member, f"form:{form.form}", asked, take)
        except Refused as error:
            return await self._trade(request, member, id_, error)
        await self._pass_on(subject)
        raise web.HTTPSeeOther(f"/trades/{id_}")

    async def dispute(self, request: web.Request) -> web.Response:
        """POST /trades/{id}/dispute: what came is not as agreed; without a reason, erase it."""
        member, form = await self._form(request, DisputeForm)
        id_ = request.match_info["id"]

        def dispute(tx: Tx) -> bytes:
            found = views.own_trade(tx, member, id_)
            return trade_delivery.dispute(tx, member, found, form.reason).subject

        try:
            asked = b"dispute " + id_.encode() + form.asked
            subject = await self._once(member, f"form:{form.form}", asked, dispute)
        except Refused as error:
            return await self._trade(request, member, id_, error, self._again(form, error))
        await self._pass_on(subject)
        raise web.HTTPSeeOther(f"/trades/{id_}")

    async def refund(self, request: web.Request) -> web.Response:
        """POST /trades/{id}/refund: propose the trade that gives this one back."""
        member, form = await self._form(request, RefundForm)
        id_ = request.match_info["id"]

        def propose(tx: Tx) -> bytes:
            found = views.own_trade(tx, member, id_)
            proposal = trade_delivery.refund(tx, member, found, form.tokens)
            return trade_escrow.propose(tx, member, proposal).subject

        try:
            asked = b"refund " + id_.encode() + form.asked
            subject = await self._once(member, f"form:{form.form}", asked, propose)
        except (Refused, PeerError) as error:
            return await self._trade(request, member, id_, error)
        raise web.HTTPSeeOther(f"/trades/{(await self._pass_on(subject)).id}")

    # What programs post

    async def post_trade(self, request: web.Request) -> web.Response:
        """POST /federation/trade: the mission's JSON from a signed-in member.

        It needs no token: a foreign page cannot send this content type without asking first, which
        is never answered, and SameSite keeps the cookie from other sites.
        """
        if request.content_type != JSON:
            raise web.HTTPUnsupportedMediaType(reason=f"send it as {JSON}")
        member = await self._member(request)
        body = await read_body(request, BODY_BYTES_MAX)
        check_depth(body)
        posted = member_trade.decode(body)
        proposal = member_trade.proposal_of(posted, self._shop.village, member)
        asked = msgspec.json.encode(proposal)
        known = await self._propose(member, posted.trade_id, asked, proposal, self._fee(proposal))
        message = await self._runner.read(
            lambda view: views.shown(view, known, self._now()).sentence
        )
        return _json(member_trade.encode(posted, known.status, known.id, message))

    async def _sign_in_program(self, request: web.Request) -> web.Response:
        body = await read_body(request, BODY_BYTES_MAX)
        check_depth(body)
        try:
            asked = msgspec.json.decode(body, type=_Credentials)
        except canonical.UNREADABLE as error:
            raise InvalidInput(f"not a sign-in: {str(error)[:200]}") from None
        member = await self._open(request, forms.tidy(asked.name), asked.pin)
        answer = {"member": member.name, "village": self._shop.village}
        return _json(msgspec.json.encode(answer))

    # Helpers

    async def _open(self, request: web.Request, name: str, pin: str) -> Member:
        try:
            member = await self._door.check(name, pin, request.remote or "")
        except TooMany as error:
            request[WAIT_S] = int(error.more["retry_after_s"])
            raise
        await sessions.begin(request, member, self._shop.random)
        return member

    def _is_home(self, proposal: Proposal) -> bool:
        return proposal.to_village == self._shop.village

    async def _offer(self, member: Member, form: ProposeForm, proposal: Proposal, fee: int) -> str:
        """Propose at home or to a neighbour; return where the trade is shown."""
        id_ = f"form:{form.form}"
        if not self._is_home(proposal):
            known = await self._propose(member, id_, form.asked, proposal, fee)
            return f"/trades/{known.id}"

        def propose(tx: Tx) -> bytes:
            return market.propose(tx, member, proposal).id.encode()

        return f"/deals/{(await self._once(member, id_, form.asked, propose)).decode()}"

    async def _home(
        self,
        request: web.Request,
        member: Member,
        more: Mapping[str, Any],
        status: int = HTTPStatus.OK,
    ) -> web.Response:
        shown = await self._runner.read(lambda view: views.home(view, member, self._now()))
        context = {"member": member, "home": shown, **_NOTHING_KEPT, **more}
        return await self._frame.page(request, "home.html", context, status)

    async def _trade(
        self,
        request: web.Request,
        member: Member,
        id_: str,
        error: BoxError | None = None,
        kept: DisputeForm | None = None,
    ) -> web.Response:
        shown = await self._runner.read(
            lambda view: views.shown(view, views.own_trade(view, member, id_), self._now())
        )
        context = {
            "member": member,
            "trade": shown,
            "error": error.detail if error else "",
            "dispute": kept or DisputeForm(""),
            "text_chars_max": limits.DISPUTE_TEXT_CHARS_MAX,
        }
        status = status_of(error) if error else HTTPStatus.OK
        return await self._frame.page(request, "trade.html", context, status)


class _Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    pin: str


_NOTHING_KEPT: Final[Mapping[str, Any]] = {
    "done": "",
    "pay": PayForm(""),
    "pay_error": "",
    "propose": ProposeForm(""),
    "propose_error": "",
    "fee": "",
    "total": "",
}


def _fee_shown(form: ProposeForm, fee: int) -> dict[str, Any]:
    """Return what the page shows to have a fee agreed to."""
    offer = names.amount(form.give_amount, names.TOKEN_DECIMALS, names.TOKEN)
    return {
        "propose": msgspec.structs.replace(form, fee=str(fee)),
        "fee": words.token_text(fee),
        "total": words.token_text(offer + fee),
    }


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type=JSON)
