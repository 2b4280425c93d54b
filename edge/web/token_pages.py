"""The page on which members make and revoke the tokens of their own programs."""

from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from edge.errors import BoxError, Refused
from edge.storage import tokens
from edge.storage.members import Member
from edge.storage.tokens import SCOPES, Scope, Token
from edge.storage.tx import Tx, View
from edge.web import views
from edge.web.feed import Feed
from edge.web.forms import Form
from edge.web.frame import Frame, status_of
from edge.web.handlers import Handlers, Shop
from edge.web.views import Time

MEANINGS: Final[dict[Scope, str]] = {
    "read": "see what you see: balances, history, trades, the market",
    "trade": "pay, propose, accept, decline and list in your name",
    "steward": "do a steward's work: add members, issue, set limits and lines, invite villages",
}


class CreateForm(Form, frozen=True):
    """A box that is ticked sends `yes`."""

    name: str = ""
    read: str = ""
    trade: str = ""
    steward: str = ""

    @property
    def scopes(self) -> frozenset[Scope]:
        ticked = {"read": self.read, "trade": self.trade, "steward": self.steward}
        return frozenset(scope for scope in SCOPES if ticked[scope] == "yes")


class TokenView(msgspec.Struct, frozen=True):
    """`used`: when it was last used, None for never."""

    id: int
    name: str
    scopes: list[str]
    created: Time
    used: Time | None


class TokenPages(Handlers):
    """The handlers of /tokens."""

    def __init__(self, shop: Shop, frame: Frame, feed: Feed) -> None:
        super().__init__(shop, frame)
        self._feed = feed

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/tokens", self.tokens),
            web.post("/tokens", self.create),
            web.post("/tokens/{id:[0-9]{1,15}}/revoke", self.revoke),
        ]

    async def tokens(self, request: web.Request) -> web.Response:
        """GET /tokens"""
        return await self._tokens(request, await self._member(request))

    async def create(self, request: web.Request) -> web.Response:
        """POST /tokens: make a token, and show it this once. The form works once: sent again it
        cannot show the token again, and makes no second one."""
        member, form = await self._form(request, CreateForm)
        made = ""

        def create(tx: Tx) -> bytes:
            nonlocal made
            made = tokens.create(tx, member, form.name, form.scopes)
            return b"made"

        try:
            await self._once(member, f"token:{form.form}", form.asked, create)
        except Refused as error:
            return await self._tokens(request, member, self._again(form, error), error)
        return await self._tokens(request, member, made=made, name=form.name)

    async def revoke(self, request: web.Request) -> web.Response:
        """POST /tokens/{id}/revoke: it opens nothing any more, and what it has open ends."""
        member = await self._member(request)
        await self._form(request, Form)
        id_ = int(request.match_info["id"])
        try:
            await self._runner.write(lambda tx: tokens.revoke(tx, member, id_))
        except Refused as error:
            return await self._tokens(request, member, error=error)
        self._feed.wake(member.id)
        raise web.HTTPSeeOther("/tokens")

    async def _tokens(
        self,
        request: web.Request,
        member: Member,
        form: CreateForm | None = None,
        error: BoxError | None = None,
        made: str = "",
        name: str = "",
    ) -> web.Response:
        def look(view: View) -> list[TokenView]:
            return [_shown(each) for each in tokens.of_member(view, member)]

        context = {
            "member": member,
            "tokens": await self._runner.read(look),
            "tokens_max": tokens.PER_MEMBER_MAX,
            "name_chars_max": tokens.NAME_CHARS_MAX,
            "scopes": [
                (scope, meaning)
                for scope, meaning in MEANINGS.items()
                if scope != "steward" or member.steward
            ],
            "form": form or CreateForm(""),
            "ticked": form.scopes if form else frozenset({"read"}),
            "error": error.detail if error else "",
            "made": made,
            "made_name": name,
        }
        status = status_of(error) if error else HTTPStatus.OK
        return await self._frame.page(request, "tokens.html", context, status)


def _shown(token: Token) -> TokenView:
    return TokenView(
        token.id,
        token.name,
        [scope for scope in SCOPES if scope in token.scopes],
        views.local_time(token.created_ms),
        views.local_time(token.used_ms) if token.used_ms else None,
    )
