"""A member's wallet: what there is and what holds it, the history, statements, receipts, goods of
one's own, and the PIN."""

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from edge import desk, steward
from edge.core import words
from edge.core.names import TOKEN, amount_text
from edge.core.trade import ENDED, Status
from edge.errors import BoxError, Forbidden, InvalidInput, NotSignedIn, Refused, TooMany
from edge.storage import deals, ledger, logs, members, movements, trades
from edge.storage.members import Member
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, Tx, View
from edge.web import history, sessions, views
from edge.web.forms import Form
from edge.web.frame import WAIT_S, Frame, status_of
from edge.web.handlers import Handlers, Shop
from edge.web.history import Asked, Days, Line
from edge.web.sign_in import SignIn
from edge.web.views import ASSETS_SHOWN_MAX, Balance, Time, TradeView

LINES_PER_PAGE: Final = 50
RECEIPTS_PER_PAGE: Final = 50
CSV_TYPE: Final = "text/csv"
_RECEIPT_PLACE: Final = re.compile(r"([1-9][0-9]{0,14})\.([0-9a-f]{64})")


class GoodsForm(Form, frozen=True):
    asset: str = ""
    amount: str = ""


class DeclareForm(GoodsForm, frozen=True):
    pass


class ConsumeForm(GoodsForm, frozen=True):
    pass


class ChangePinForm(Form, frozen=True):
    old_pin: str = ""
    new_pin: str = ""
    new_pin_again: str = ""


class Held(msgspec.Struct, frozen=True):
    """What a trade sets aside or holds of a member's."""

    what: str
    how: str
    other: str
    path: str


class Wallet(msgspec.Struct, frozen=True):
    """`history` is a page of it, `assets` all that are in it; `catalogue` and `goods`: what may be
    declared, and what may be used up."""

    balances: list[Balance]
    held: list[Held]
    history: list[Line]
    older: str
    assets: list[tuple[str, str]]
    catalogue: list[str]
    goods: list[str]


class Receipt(msgspec.Struct, frozen=True):
    trade: TradeView
    ended: Time


class WalletPages(Handlers):
    """The handlers of /wallet. `door` counts wrong PINs, wherever they are typed."""

    def __init__(self, shop: Shop, frame: Frame, door: SignIn) -> None:
        super().__init__(shop, frame)
        self._door = door

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/wallet", self.wallet),
            web.get("/wallet/statement", self.statement),
            web.get("/wallet/statement.csv", self.statement_csv),
            web.get("/wallet/receipts", self.receipts),
            web.get("/wallet/pin", self.pin),
            web.post("/wallet/pin", self.change_pin),
            web.post("/wallet/declare", self.declare),
            web.post("/wallet/consume", self.consume),
        ]

    # Looking

    async def wallet(self, request: web.Request) -> web.Response:
        """GET /wallet?asset=&kind=&direction=&from=&to=&before="""
        member = await self._member(request)
        form = request.query.get("done", "")
        done = await self._runner.read(lambda view: _done(view, member, form))
        return await self._wallet(request, member, {"done": done})

    async def statement(self, request: web.Request) -> web.Response:
        """GET /wallet/statement?month=, or ?from=&to="""
        member, error, shown = await self._member(request), None, None
        try:
            shown = await self._statement(request, member)
        except InvalidInput as refused:
            error = refused
        context = {
            "member": member,
            "statement": shown,
            "error": error.detail if error else "",
            "months": await self._months(),
            "zone": history.zone(self._now()),
            "query": {key: request.query.get(key, "") for key in ("month", "from", "to")},
        }
        status = status_of(error) if error else HTTPStatus.OK
        return await self._frame.page(request, "statement.html", context, status)

    async def statement_csv(self, request: web.Request) -> web.Response:
        """GET /wallet/statement.csv?month=, or ?from=&to="""
        shown = await self._statement(request, await self._member(request))
        days = f"{shown.days.first}-to-{shown.days.last}"
        name = f"statement-{self._shop.village}-{days}.csv"
        return web.Response(
            body=history.to_csv(shown),
            content_type=CSV_TYPE,
            charset="utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    async def receipts(self, request: web.Request) -> web.Response:
        """GET /wallet/receipts?before=: the trades of which there is a proof."""
        member = await self._member(request)
        before = _receipt_place(request.query.get("before", ""))

        def look(view: View) -> dict[str, Any]:
            found = trades.decided_of(view, member.id, RECEIPTS_PER_PAGE + 1, before)
            page = found[:RECEIPTS_PER_PAGE]
            more = f"{page[-1].created_ms}.{page[-1].subject.hex()}" if page else ""
            return {
                "receipts": [self._receipt(view, each) for each in page],
                "older": more if len(found) > len(page) else "",
                "is_first": before is None,
            }

        context = {"member": member, **await self._runner.read(look)}
        return await self._frame.page(request, "receipts.html", context)

    async def pin(self, request: web.Request) -> web.Response:
        """GET /wallet/pin?changed="""
        member = await self._member(request)
        changed = request.query.get("changed", "") == str(member.session_epoch)
        return await self._pin(request, member, None, changed=changed)

    # Doing

    async def declare(self, request: web.Request) -> web.Response:
        """POST /wallet/declare: a member has more of what the catalogue has."""
        member, form = await self._form(request, DeclareForm)
        return await self._goods(request, member, form, "declare", desk.declare_known)

    async def consume(self, request: web.Request) -> web.Response:
        """POST /wallet/consume: a member has used something up."""
        member, form = await self._form(request, ConsumeForm)

        def consume(tx: Tx, member: Member, asset: str, amount: str) -> int:
            return desk.consume(tx, member.name, asset, amount)

        return await self._goods(request, member, form, "consume", consume)

    async def change_pin(self, request: web.Request) -> web.Response:
        """POST /wallet/pin: a new PIN for the old one. It ends all sessions but this one.

        Nothing of the form is kept, not even a digest: a PIN is short. Sent twice, it is refused
        the second time, since the old PIN is no longer right.
        """
        member, form = await self._form(request, ChangePinForm)
        try:
            changed = await self._change_pin(request, member, form)
        except Refused as error:
            return await self._pin(request, member, error)
        await sessions.begin(request, changed, self._shop.random)
        raise web.HTTPSeeOther(f"/wallet/pin?changed={changed.session_epoch}")

    # Helpers

    async def _change_pin(
        self, request: web.Request, member: Member, form: ChangePinForm
    ) -> Member:
        if form.new_pin != form.new_pin_again:
            raise InvalidInput("the new PIN was not typed the same way twice")
        desk.check_pin_text(form.new_pin)
        if form.new_pin == form.old_pin:
            raise InvalidInput("this is the PIN that you have already")
        try:
            known = await self._door.check(member.name, form.old_pin, request.remote or "")
        except NotSignedIn:
            raise Forbidden("the PIN that you have now was not right") from None
        except TooMany as error:
            request[WAIT_S] = int(error.more["retry_after_s"])
            raise
        pin_hash = await steward.hash_pin(form.new_pin)

        def change(tx: Tx) -> Member:
            now = members.named(tx, known.name)
            if now.session_epoch != member.session_epoch:
                raise NotSignedIn("the PIN was changed elsewhere meanwhile: sign in with that one")
            return members.set_pin(tx, now, pin_hash)

        return await self._runner.write(change)

    async def _goods(
        self,
        request: web.Request,
        member: Member,
        form: GoodsForm,
        name: str,
        do: Callable[[Tx, Member, str, str], int],
    ) -> web.Response:
        try:
            await self._once(
                member,
                f"goods:{form.form}",
                form.asked,
                lambda tx: str(do(tx, member, form.asset, form.amount)).encode(),
            )
        except Refused as error:
            context = {name: self._again(form, error), f"{name}_error": error.detail}
            return await self._wallet(request, member, context, status_of(error))
        raise web.HTTPSeeOther(f"/wallet?done={form.form}#done")

    async def _wallet(
        self,
        request: web.Request,
        member: Member,
        more: Mapping[str, Any],
        status: int = HTTPStatus.OK,
    ) -> web.Response:
        asked, error = Asked.from_query(request.query), ""
        try:
            wanted, before = asked.wanted, asked.place
        except InvalidInput as refused:
            wanted, before = movements.Wanted(), None
            error, status = refused.detail, status_of(refused)

        def look(view: View) -> Wallet:
            page = movements.page(view, member.account, wanted, LINES_PER_PAGE, before)
            lines = [history.line(view, member.account, row) for row in page.rows]
            older = {**asked.fields(), "before": str(page.older)} if page.older else {}
            return _gather(view, member, lines, urlencode(older))

        context = {
            "member": member,
            "wallet": await self._runner.read(look),
            "asked": asked,
            "filter_error": error,
            "is_filtered": bool(asked.fields()) and not error,
            "kinds": [(name, text) for name, (text, _) in history.KINDS.items()],
            "directions": list(history.DIRECTIONS.items()),
            "months": await self._months(),
            "zone": history.zone(self._now()),
            **_NOTHING_KEPT,
            **more,
        }
        return await self._frame.page(request, "wallet.html", context, status)

    async def _months(self) -> list[tuple[str, str]]:
        return history.months(self._now(), await self._runner.read(history.began_ms))

    async def _statement(self, request: web.Request, member: Member) -> history.Statement:
        days = Days.from_query(request.query, self._now())
        return await self._runner.read(
            lambda view: history.statement(view, member, days, self._now())
        )

    async def _pin(
        self, request: web.Request, member: Member, error: BoxError | None, changed: bool = False
    ) -> web.Response:
        context = {
            "member": member,
            "error": error.detail if error else "",
            "changed": changed and member.session_epoch > 0,
        }
        status = status_of(error) if error else HTTPStatus.OK
        return await self._frame.page(request, "pin.html", context, status)

    def _receipt(self, view: View, found: Trade) -> Receipt:
        return Receipt(views.shown(view, found, self._now()), views.local_time(found.changed_ms))


_NOTHING_KEPT: Final[Mapping[str, Any]] = {
    "done": "",
    "declare": DeclareForm(""),
    "declare_error": "",
    "consume": ConsumeForm(""),
    "consume_error": "",
}


def _gather(view: View, member: Member, lines: list[Line], older: str) -> Wallet:
    resources = [
        asset for asset in logs.assets(view, OWN_LOG, ASSETS_SHOWN_MAX) if asset.code != TOKEN
    ]
    has = ledger.balances(view, member.account)
    return Wallet(
        views.balances(view, member),
        [*_held_by_trades(view, member), *_held_by_deals(view, member)],
        lines,
        older,
        [(code, words.asset_text(code)) for code in has],
        [words.asset_text(asset.code) for asset in resources],
        [words.asset_text(code) for code in has if code != TOKEN and has[code].balance > 0],
    )


def _held_by_trades(view: View, member: Member) -> list[Held]:
    found = []
    for each in trades.holding(view, member.id):
        other = (each.to_user if each.role == "from" else each.from_user) or "a member"
        how = "set aside" if each.status is Status.PENDING else "held"
        gives = words.gives_text(each.terms, each.role)
        found.append(Held(gives, how, f"{other} of {each.neighbour}", f"/trades/{each.id}"))
    return found


def _held_by_deals(view: View, member: Member) -> list[Held]:
    found = []
    for each in deals.of_member(view, member.id):
        if each.status in ENDED or each.from_member != member.id or not each.reserved:
            continue
        shown = views.deal_shown(view, each, member)
        found.append(Held(shown.gives, "set aside", shown.other_user, shown.path))
    return found


def _done(view: View, member: Member, form: str) -> str:
    """Return in words what a form of goods did, nothing if it did nothing."""
    answer = members.answered(view, views.scope(member), f"goods:{form}")
    if answer is None:
        return ""
    posting = ledger.posting_of(view, int(answer))
    [entry] = [each for each in posting.entries if each.account == member.account]
    asset = ledger.asset(view, entry.asset)
    amount = f"{amount_text(abs(entry.amount), asset.decimals)} {words.asset_text(asset.code)}"
    return f"Declared: {amount}." if entry.amount > 0 else f"Used up: {amount}."


def _receipt_place(text: str) -> tuple[int, bytes] | None:
    match = _RECEIPT_PLACE.fullmatch(text)
    return (int(match[1]), bytes.fromhex(match[2])) if match else None
