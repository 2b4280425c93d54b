"""The desk's pages of trades: whom each waits for, trying again, giving up, and receipts."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from edge import abandon, misbehaviour, steward, trade_receipt
from edge.core import receipt, words
from edge.core.receipt import RECEIPT_BYTES_MAX
from edge.core.trade import HOW_IT_STANDS
from edge.errors import InvalidInput, PeerError, Refused, UnknownTrade, WrongState
from edge.storage import neighbours
from edge.storage.councils import Opened
from edge.storage.deals import Deal
from edge.storage.members import Member
from edge.storage.tx import Tx, View
from edge.web import desk_trade_views, sessions, uploads
from edge.web.desk_forms import AbandonForm, RetryForm
from edge.web.desk_trade_views import Asked
from edge.web.frame import JSON
from edge.web.steward import Desk

TRADES: Final = "/desk/trades"
FORMS: Final = {"retry": RetryForm(""), "abandon": AbandonForm("")}


class TradeDesk(Desk):
    """The handlers of /desk/trades."""

    def routes(self) -> list[web.RouteDef]:
        one = f"{TRADES}/{{id:[0-9a-f]{{16}}}}"
        return [
            web.get(TRADES, self.trades),
            web.get("/desk/misbehaviour", self.misbehaviour),
            web.get(one, self.trade),
            web.get(f"{one}/receipt", self.receipt),
            web.post(f"{one}/retry", self.retry),
            web.post(f"{one}/abandon", self.abandon),
        ]

    async def trades(self, request: web.Request) -> web.Response:
        """GET /desk/trades?show=&village=&after="""
        member = await self._member(request)
        asked = Asked.from_query(request.query)
        page = await self._runner.read(lambda view: desk_trade_views.gather(view, asked))
        context = {"page": page, "asked": asked, "shows": list(desk_trade_views.SHOWS.items())}
        return await self._page(request, member, "desk-trades.html", context | FORMS)

    async def trade(self, request: web.Request) -> web.Response:
        """GET /desk/trades/{id}"""
        return await self._trade(request, await self._member(request), {})

    async def receipt(self, request: web.Request) -> web.Response:
        """GET /desk/trades/{id}/receipt: of an own trade, or of one of others."""
        await self._member(request)
        id_ = request.match_info["id"]

        def make(view: View) -> bytes:
            found = desk_trade_views.find(view, id_)
            if isinstance(found, Deal):
                raise WrongState("a trade within the village has no receipt: one ledger has it all")
            if isinstance(found, Opened):
                return receipt.encode(trade_receipt.of_subject(view, found))
            return receipt.encode(trade_receipt.of_trade(view, found))

        return web.Response(
            body=await self._runner.read(make),
            content_type=JSON,
            headers={"Content-Disposition": f'attachment; filename="receipt-{id_}.json"'},
        )

    async def misbehaviour(self, request: web.Request) -> web.Response:
        """GET /desk/misbehaviour: the proofs, as `export misbehaviour` writes them."""
        await self._member(request)
        return web.Response(
            body=await self._runner.read(misbehaviour.export),
            content_type=JSON,
            headers={"Content-Disposition": 'attachment; filename="misbehaviour.json"'},
        )

    async def retry(self, request: web.Request) -> web.Response:
        """POST /desk/trades/{id}/retry: speak with those that decide; say who answered."""
        member, form = await self._form(request, RetryForm)
        seats = await self._runner.read(lambda view: _others(view, request.match_info["id"]))
        asked = await steward.speak_with_all(seats, self._shop.speak) if form.form else {}
        silent = [village for village, why in asked.items() if why]

        def say(_: Tx) -> str:
            if not seats:
                raise UnknownTrade("none of its villages is a neighbour any more")
            return "Asked now: " + "; ".join(words.asked_text(*each) for each in asked.items())

        return await self._do(
            request, member, form, say, self._trade, _here(request), lambda: self._tell(silent)
        )

    async def abandon(self, request: web.Request) -> web.Response:
        """POST /desk/trades/{id}/abandon: what is unbound, or with evidence what is bound."""
        await self._member(request)  # before a file is read
        form = await uploads.read(request, AbandonForm, RECEIPT_BYTES_MAX)
        member = await self._member(request)
        await sessions.check_token(request, form.csrf)
        if not form.form:
            raise InvalidInput("not a form of this page: it has no id")
        id_ = request.match_info["id"]
        try:
            if form.sure != "yes":
                raise InvalidInput("tick the box to say that you are sure")
            evidence = abandon.read_evidence(form.evidence) if form.evidence else None
        except (Refused, PeerError) as error:
            return await self._back(request, member, form, error, self._trade)
        seats = await self._runner.read(lambda view: _others(view, id_))

        def give_up(tx: Tx) -> str:
            by = f"the steward {member.name}"
            ended = abandon.abandon(tx, abandon.named(tx, id_), by, form.reason, evidence)
            return f"The trade {HOW_IT_STANDS[ended.status]}"

        return await self._do(
            request, member, form, give_up, self._trade, _here(request), lambda: self._tell(seats)
        )

    def _tell(self, villages: list[str]) -> None:
        for village in villages:
            self._shop.kick(village)

    async def _trade(
        self,
        request: web.Request,
        member: Member,
        more: Mapping[str, Any],
        status: int = HTTPStatus.OK,
    ) -> web.Response:
        id_ = request.match_info["id"]

        def look(view: View) -> desk_trade_views.TradePage:
            return desk_trade_views.in_full(view, desk_trade_views.find(view, id_), self._now())

        context = {"page": await self._runner.read(look), **FORMS, **more}
        return await self._page(request, member, "desk-trade.html", context, status)


def _others(view: View, id_: str) -> list[str]:
    """Return the neighbours that decide a trade."""
    found = desk_trade_views.find(view, id_)
    if isinstance(found, Deal):
        return []
    known = {each.village for each in neighbours.everyone(view)}
    return [seat.village for seat in found.terms.seats if seat.village in known]


def _here(request: web.Request) -> str:
    return f"{TRADES}/{request.match_info['id']}"
