"""The market: what this village and its neighbours offer and want, one listing, and answering it.

Anybody in the local network may look; members list, answer and take back.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from edge import market
from edge.core import limits, listing, names, words
from edge.core.trade import Proposal
from edge.errors import BoxError, InvalidInput, PeerError, Refused
from edge.storage import listings, members, neighbours
from edge.storage.deals import Deal
from edge.storage.listings import Listed, Query
from edge.storage.members import Member
from edge.storage.tx import Tx, View
from edge.web import sessions, views
from edge.web.forms import AnswerForm, Form, ListForm
from edge.web.frame import Frame, status_of
from edge.web.handlers import Handlers, Shop
from edge.web.kept import Kept
from edge.web.pieces import Pieces
from edge.web.turns import Turns
from edge.web.views import Place, Time

STEPS: Final[Mapping[str, Callable[[Tx, Member, Deal], Deal]]] = {
    "accept": market.accept,
    "reject": market.reject,
    "cancel": market.cancel,
}
SEARCH_CHARS_MAX: Final = 80
SHELVES_BYTES_MAX: Final = 8 * 1024 * 1024
SIGNED_IN_KEPT_MAX: Final = 1_024
VISITORS_WAITING_MAX: Final = 32  # for a page that is not made yet
NOBODY: Final = 0  # no member has this id


class Card(msgspec.Struct, frozen=True):
    """A listing as the market shows it. `unit_price` is for one, empty for a gift; `by` is who
    listed it, for members of the same village only. `is_out`: who offers it has none just now."""

    path: str
    side: str
    item: str
    left: str
    unit_price: str
    text: str
    village: str
    place: str
    here: bool
    by: str
    mine: bool
    is_out: bool
    listed: Time
    ends: Time


class Looked(msgspec.Struct, frozen=True):
    """What somebody looks for, as the page's own address says it."""

    q: str = ""
    side: str = ""
    village: str = ""
    price: str = ""
    mine: str = ""
    after: str = ""

    def query(self, member: Member | None) -> Query:
        """Return the search. Raises InvalidInput."""
        known = (
            self.mine in ("", "1")
            and len(self.q) <= SEARCH_CHARS_MAX
            and self.side in ("", "offer", "want")
            and self.price in ("", "gift", "goods", "AT")
            and (not self.village or names.accepts(names.village_id, self.village))
        )
        if not known:
            raise InvalidInput("this is not a search that the market knows")
        return Query(
            self.q,
            "offer" if self.side == "offer" else "want" if self.side == "want" else None,
            self.village,
            self.price,
            member.id if self.mine and member else None,
            _place(self.after) if self.after else None,
        )

    def next(self, last: Listed) -> str:
        """Return the address of what follows the last one shown."""
        after = f"{last.listed_ms}.{last.village}.{last.id}"
        fields = msgspec.structs.asdict(msgspec.structs.replace(self, after=after))
        return "/market?" + urlencode({name: value for name, value in fields.items() if value})


class Shelf(msgspec.Struct, frozen=True):
    """A page of the market as it is kept, and the members who listed something that is on it."""

    page: Pieces
    owners: frozenset[int]

    @property
    def size(self) -> int:
        return self.page.size


class Market(Handlers):
    """The handlers of /market and /deals. What /market shows is made once for all who look, until
    something is committed or a minute is over."""

    def __init__(self, shop: Shop, frame: Frame) -> None:
        super().__init__(shop, frame)
        self._shelves = Kept[Shelf](shop.committed, SHELVES_BYTES_MAX, lambda each: each.size)
        self._for_visitors = Turns(1, VISITORS_WAITING_MAX)
        self._signed_in = Kept[Member | None](shop.committed, SIGNED_IN_KEPT_MAX)

    def routes(self) -> list[web.RouteDef]:
        one = "/market/{village:[a-z0-9-]{1,63}}/{id:[0-9a-f]{16}}"
        deal = "/deals/{id:[0-9a-f]{16}}"
        return [
            web.get("/market", self.browse),
            web.get("/market/new", self.new),
            web.post("/market/new", self.list_goods),
            web.get(one, self.listing),
            web.post(f"{one}/answer", self.answer),
            web.post(f"{one}/take-back", self.take_back),
            web.get(deal, self.deal),
            web.post(f"{deal}/{{step:accept|reject|cancel}}", self.step),
        ]

    # Looking

    async def browse(self, request: web.Request) -> web.Response:
        """GET /market?q=&side=&village=&price=&mine=&after=&taken="""
        member = await self._visitor(request)
        looked = _looked(request)
        taken = request.query.get("taken", "")
        if member is not None and taken:
            return await self._taken(request, looked, member, taken)
        shelf = await self._shelf(request, looked, member)
        # What is typed into a search comes back on the page: beside what members only may see, it
        # is not compressed.
        may_pack = member is None or not looked.q
        return await self._frame.send(request, shelf.page, member, may_pack=may_pack)

    async def listing(self, request: web.Request) -> web.Response:
        """GET /market/{village}/{id}"""
        member = await self._visitor(request)
        return await self._listing(request, member, AnswerForm(""))

    async def deal(self, request: web.Request) -> web.Response:
        """GET /deals/{id}"""
        return await self._deal(request, await self._member(request))

    async def new(self, request: web.Request) -> web.Response:
        """GET /market/new?side=want"""
        member = await self._member(request)
        side = request.query.get("side", "offer")
        return await self._new(request, member, ListForm("", side=side))

    # Doing

    async def list_goods(self, request: web.Request) -> web.Response:
        """POST /market/new: list what a member offers or wants."""
        member, form = await self._form(request, ListForm)

        def list_goods(tx: Tx) -> bytes:
            return market.list_goods(tx, member, form.ask).encode()

        try:
            id_ = await self._once(member, f"list:{form.form}", form.asked, list_goods)
        except Refused as error:
            return await self._new(request, member, self._again(form, error), error)
        self._shop.announce()
        place = f"/market/{self._shop.village}/{id_.decode()}"
        raise web.HTTPSeeOther(f"{place}?listed={form.form}")

    async def take_back(self, request: web.Request) -> web.Response:
        """POST /market/{village}/{id}/take-back: erase a member's own listing."""
        member, form = await self._form(request, Form)
        village, id_ = request.match_info["village"], request.match_info["id"]
        if village != self._shop.village:
            raise InvalidInput("this is a listing of another village")

        def take_back(tx: Tx) -> bytes:
            market.take_back(tx, member, id_)
            return b"taken back"  # and no word of what it was: it is erased

        await self._once(member, f"taken:{form.form}", f"take back {id_}".encode(), take_back)
        self._shop.announce()
        raise web.HTTPSeeOther(f"/market?mine=1&taken={form.form}")

    async def answer(self, request: web.Request) -> web.Response:
        """POST /market/{village}/{id}/answer: propose the trade that a listing asks for. A fee is
        shown first, and agreed to by sending the form again."""
        member, form = await self._form(request, AnswerForm)
        village, id_ = request.match_info["village"], request.match_info["id"]
        try:
            proposal = await self._runner.read(
                lambda view: market.proposal(view, village, id_, form.amount, form.digest)
            )
            path = await self._answer(request, member, form, proposal)
        except (Refused, PeerError) as error:
            return await self._listing(request, member, self._again(form, error), error)
        except _FeeFirst as fee:
            agreed = msgspec.structs.replace(form, fee=str(fee.minor))
            return await self._listing(request, member, agreed, fee=fee.minor)
        raise web.HTTPSeeOther(path)

    async def step(self, request: web.Request) -> web.Response:
        """POST /deals/{id}/accept, reject or cancel."""
        member, form = await self._form(request, Form)
        id_, name = request.match_info["id"], request.match_info["step"]

        def take(tx: Tx) -> bytes:
            return STEPS[name](tx, member, market.deal_of(tx, member, id_)).id.encode()

        try:
            await self._once(member, f"form:{form.form}", f"{name} {id_}".encode(), take)
        except Refused as error:
            return await self._deal(request, member, error)
        self._shop.announce()
        raise web.HTTPSeeOther(f"/deals/{id_}")

    # Helpers

    async def _visitor(self, request: web.Request) -> Member | None:
        claim = await sessions.claim_of(request)
        if claim is None:
            return None
        return await self._signed_in.get(
            claim, lambda: self._runner.read(lambda view: sessions.check(view, claim))
        )

    async def _shelf(self, request: web.Request, looked: Looked, member: Member | None) -> Shelf:
        """Return the page that all members (or all visitors) see, or the member's own, if there is
        something on it that is the member's."""
        if member is None:
            return await self._kept(request, looked, None)
        if not looked.mine:
            shelf = await self._kept(request, looked, msgspec.structs.replace(member, id=NOBODY))
            if member.id not in shelf.owners:
                return shelf
        return await self._kept(request, looked, member)

    async def _kept(self, request: web.Request, looked: Looked, reader: Member | None) -> Shelf:
        key = (looked, reader and (reader.id, reader.steward))
        return await self._shelves.get(
            key, lambda: self._stock(request, looked, reader), self._minute()
        )

    async def _stock(self, request: web.Request, looked: Looked, reader: Member | None) -> Shelf:
        shown, owners = await self._on_shelf(looked, reader)
        return Shelf(self._frame.pieces(request, "market.html", shown, reader), owners)

    async def _taken(
        self, request: web.Request, looked: Looked, member: Member, form: str
    ) -> web.Response:
        """Return the market as it is after a listing was taken back: made for this once."""
        taken = await self._runner.read(lambda view: _answer_to(view, member, f"taken:{form}"))
        shown, _ = await self._on_shelf(looked, member)
        context = {**shown, "member": member, "is_taken": bool(taken)}
        return await self._frame.page(request, "market.html", context)

    async def _on_shelf(
        self, looked: Looked, reader: Member | None
    ) -> tuple[dict[str, Any], frozenset[int]]:
        query = looked.query(reader)

        def look(view: View) -> tuple[dict[str, Any], frozenset[int]]:
            found = listings.search(view, query, self._minute(), listings.PAGE + 1)
            page = found[: listings.PAGE]
            shown = {
                "looked": looked,
                "cards": [self._card(view, each, reader) for each in page],
                "more": looked.next(page[-1]) if len(found) > len(page) else "",
                "places": self._places(view),
                "is_taken": False,
            }
            return shown, frozenset(each.member for each in page if each.member is not None)

        if reader is not None:
            return await self._runner.read(look)
        async with self._for_visitors:  # anybody in the local network, as often as they like
            return await self._runner.read(look)

    async def _answer(
        self, request: web.Request, member: Member, form: AnswerForm, proposal: Proposal
    ) -> str:
        """Propose at home or to the neighbour; return where the trade is shown."""
        if proposal.to_village == self._shop.village:
            id_ = await self._once(
                member,
                f"form:{form.form}",
                form.asked,
                lambda tx: market.propose(tx, member, proposal).id.encode(),
            )
            return f"/deals/{id_.decode()}"
        fee = self._fee(proposal)
        if fee > form.agreed_fee:
            raise _FeeFirst(fee)
        known = await self._propose(member, f"form:{form.form}", form.asked, proposal, fee)
        return f"/trades/{known.id}"

    async def _listing(
        self,
        request: web.Request,
        member: Member | None,
        form: AnswerForm,
        error: BoxError | None = None,
        fee: int = 0,
    ) -> web.Response:
        village, id_ = request.match_info["village"], request.match_info["id"]
        listed = request.query.get("listed", "")

        def look(view: View) -> dict[str, Any]:
            found = listings.named(view, village, id_)
            return {
                "is_new": _answer_to(view, member, f"list:{listed}") == id_,
                "card": self._card(view, found, member),
                "offer": _offer(found, form.amount),
                "unit": _unit(found),
                "digest": listing.digest(found.goods),
                "can_answer": found.member is None or member is None or found.member != member.id,
            }

        context = {
            "member": member,
            "answer": form,
            "error": error.detail if error else "",
            "fee": words.token_text(fee) if fee else "",
            **await self._runner.read(look),
        }
        status = status_of(error) if error else HTTPStatus.OK
        return await self._frame.page(request, "listing.html", context, status)

    async def _new(
        self, request: web.Request, member: Member, form: ListForm, error: BoxError | None = None
    ) -> web.Response:
        def look(view: View) -> dict[str, Any]:
            return {
                "balances": views.balances(view, member),
                "known": views.catalogue(view, neighbours.everyone(view)),
            }

        context = {
            "member": member,
            "form": form,
            "error": error.detail if error else "",
            "text_chars_max": limits.LISTING_TEXT_CHARS_MAX,
            **await self._runner.read(look),
        }
        status = status_of(error) if error else HTTPStatus.OK
        return await self._frame.page(request, "list.html", context, status)

    async def _deal(
        self, request: web.Request, member: Member, error: BoxError | None = None
    ) -> web.Response:
        id_ = request.match_info["id"]
        shown = await self._runner.read(
            lambda view: views.deal_shown(view, market.deal_of(view, member, id_), member)
        )
        context = {"member": member, "trade": shown, "error": error.detail if error else ""}
        status = status_of(error) if error else HTTPStatus.OK
        return await self._frame.page(request, "trade.html", context, status)

    def _places(self, view: View) -> list[Place]:
        own = Place(self._shop.village, self._shop.village_name, "")
        return [own, *(Place(n.village, n.entry.name, "") for n in neighbours.everyone(view))]

    def _card(self, view: View, found: Listed, member: Member | None) -> Card:
        goods = found.goods
        here = found.village == self._shop.village
        lister = members.by_id(view, found.member) if found.member is not None and member else None
        neighbour = None if here else neighbours.find(view, found.village)
        return Card(
            path=f"/market/{found.village}/{found.id}",
            side=goods.side,
            item=words.asset_text(goods.item.asset),
            left=names.amount_text(goods.item.amount, goods.item.decimals),
            unit_price=words.quantity_text(goods.price) if goods.price else "",
            text=goods.text,
            village=found.village,
            place=self._shop.village_name
            if here
            else (neighbour.entry.name if neighbour else found.village),
            here=here,
            by=lister.name if lister else "",
            mine=member is not None and found.member == member.id,
            is_out=market.is_out(view, found),
            listed=views.local_time(found.listed_ms),
            ends=views.local_time(found.ends_minute * limits.MINUTE_MS),
        )

    def _minute(self) -> int:
        return self._now() // limits.MINUTE_MS


def _answer_to(view: View, member: Member | None, form: str) -> str:
    """Return what a member's form did, nothing if it did nothing."""
    answer = members.answered(view, views.scope(member), form) if member else None
    return answer.decode() if answer else ""


class _FeeFirst(Exception):
    """The trade costs a fee, in AT minor units, to which nobody has agreed yet."""

    def __init__(self, minor: int) -> None:
        super().__init__(minor)
        self.minor = minor


class Unit(msgspec.Struct, frozen=True):
    """What the page needs to say what an amount costs while it is typed: decimals and the price of
    one in minor units (0: a gift)."""

    decimals: int
    price: int
    price_decimals: int
    price_asset: str


def _unit(found: Listed) -> Unit:
    item, price = found.goods.item, found.goods.price
    if price is None:
        return Unit(item.decimals, 0, 0, "")
    return Unit(item.decimals, price.amount, price.decimals, words.asset_text(price.asset))


def _offer(found: Listed, amount: str) -> tuple[str, str]:
    """Return what whoever answers gives and gets, in words; nothing while the amount is not one."""
    item = found.goods.item
    try:
        minor = names.amount(amount, item.decimals, item.asset)
    except InvalidInput:
        return "", ""
    gives, gets = listing.sides(found.goods, minor)
    return words.quantity_text(gives), words.quantity_text(gets)


def _looked(request: web.Request) -> Looked:
    fields = dict(request.query)
    try:
        return msgspec.convert(fields, Looked)
    except msgspec.ValidationError:
        raise InvalidInput("this is not a search that the market knows") from None


def _place(after: str) -> tuple[int, str, str]:
    listed, _, rest = after.partition(".")
    village, _, id_ = rest.partition(".")
    known = (
        listed.isascii()
        and listed.isdigit()
        and len(listed) <= 15
        and names.accepts(names.village_id, village)
        and listing.is_id(id_)
    )
    if not known:
        raise InvalidInput("this is not a search that the market knows")
    return int(listed), village, id_
