"""The steward's desk: how the box is, members, neighbours, open trades. For stewards only.

A form that is refused comes back with what was typed, but for the PIN, and the reason; one that is
done ends in a redirect to a page that says so.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, TypeVar

from aiohttp import web

from edge import desk, peering, steward
from edge.core import invitation, limits, names, words
from edge.core.names import TOKEN
from edge.errors import BoxError, Forbidden, PeerError, Refused, Unreachable, WrongState
from edge.storage import members
from edge.storage.members import Member
from edge.storage.tx import Tx
from edge.web import desk_views, views
from edge.web.desk_forms import (
    AddForm,
    ApproveForm,
    DeclareForm,
    InviteForm,
    IssueForm,
    JoinForm,
    LimitForm,
    LineForm,
    PinForm,
    StewardForm,
    whole,
)
from edge.web.forms import Form
from edge.web.frame import status_of
from edge.web.handlers import Handlers

F = TypeVar("F", bound=Form)
Show = Callable[[web.Request, Member, Mapping[str, Any], int], Awaitable[web.Response]]

MEMBERS: Final = "/desk/members"
NEIGHBOURS: Final = "/desk/neighbours"
# Each page's forms by the last part of where they go, as they are before anybody types.
MEMBERS_FORMS: Final = {
    "add": AddForm(""),
    "issue": IssueForm(""),
    "declare": DeclareForm(""),
    "approve": ApproveForm(""),
}
MEMBER_FORMS: Final = {"limit": LimitForm(""), "pin": PinForm(""), "steward": StewardForm("")}
NEIGHBOURS_FORMS: Final = {
    "line": LineForm(""),
    "invite": InviteForm(""),
    "join": JoinForm(""),
}


class Desk(Handlers):
    """The handlers of /desk."""

    def routes(self) -> list[web.RouteDef]:
        one = f"{MEMBERS}/{{id:[0-9]{{1,15}}}}"
        return [
            web.get("/desk", self.overview),
            web.get(MEMBERS, self.members),
            web.post(f"{MEMBERS}/add", self.add),
            web.post(f"{MEMBERS}/issue", self.issue),
            web.post(f"{MEMBERS}/declare", self.declare),
            web.post(f"{MEMBERS}/approve", self.approve),
            web.get(one, self.member),
            web.post(f"{one}/limit", self.limit),
            web.post(f"{one}/pin", self.pin),
            web.post(f"{one}/steward", self.steward),
            web.get(NEIGHBOURS, self.neighbours),
            web.post(f"{NEIGHBOURS}/line", self.line),
            web.post(f"{NEIGHBOURS}/invite", self.invite),
            web.post(f"{NEIGHBOURS}/join", self.join),
        ]

    # Looking

    async def overview(self, request: web.Request) -> web.Response:
        """GET /desk: how the box is."""
        member = await self._member(request)
        shown = await self._runner.read(
            lambda view: desk_views.overview(view, self._shop.health(view), self._now())
        )
        return await self._page(request, member, "desk.html", {"desk": shown})

    async def members(self, request: web.Request) -> web.Response:
        """GET /desk/members"""
        member = await self._member(request)
        payee = request.query.get("payee", "")
        return await self._members(request, member, {"issue": IssueForm("", payee=payee)})

    async def member(self, request: web.Request) -> web.Response:
        """GET /desk/members/{id}"""
        return await self._person(request, await self._member(request), {})

    async def neighbours(self, request: web.Request) -> web.Response:
        """GET /desk/neighbours"""
        return await self._neighbours(request, await self._member(request), {})

    # Members

    async def add(self, request: web.Request) -> web.Response:
        """POST /desk/members/add"""
        member, form = await self._form(request, AddForm)
        try:
            pin_hash = await steward.hash_pin(form.pin)
        except Refused as error:
            return await self._back(request, member, form, error, self._members)

        def add(tx: Tx) -> str:
            made = desk.add_member(tx, form.name, pin_hash, form.steward == "yes")
            return f"{made.name} is a {'steward' if made.steward else 'member'} now"

        return await self._do(request, member, form, add, self._members, MEMBERS)

    async def issue(self, request: web.Request) -> web.Response:
        """POST /desk/members/issue"""
        member, form = await self._form(request, IssueForm)

        def issue(tx: Tx) -> str:
            desk.issue(tx, form.payee, form.amount, form.note)
            return f"{form.amount} {TOKEN} were issued to {form.payee}"

        return await self._do(request, member, form, issue, self._members, MEMBERS)

    async def declare(self, request: web.Request) -> web.Response:
        """POST /desk/members/declare"""
        member, form = await self._form(request, DeclareForm)

        def declare(tx: Tx) -> str:
            decimals = whole(form.decimals, "the number of decimals")
            desk.declare(tx, form.owner, form.resource, form.amount, decimals)
            return f"{form.owner} has {form.amount} {_asset(form.resource)} more"

        return await self._do(request, member, form, declare, self._members, MEMBERS)

    async def approve(self, request: web.Request) -> web.Response:
        """POST /desk/members/approve: put a resource into the catalogue."""
        member, form = await self._form(request, ApproveForm)

        def approve(tx: Tx) -> str:
            decimals = whole(form.decimals, "the number of decimals")
            asset = desk.approve(tx, form.resource, decimals)
            return f"{words.asset_text(asset.code)} is in the catalogue now"

        return await self._do(request, member, form, approve, self._members, MEMBERS)

    async def limit(self, request: web.Request) -> web.Response:
        """POST /desk/members/{id}/limit"""
        member, form = await self._form(request, LimitForm)

        def limit(tx: Tx) -> str:
            name = desk_views.member_by_id(tx, _id(request)).name
            desk.set_member_limit(tx, name, form.asset, form.amount)
            return f"{name} may go {form.amount} {_asset(form.asset)} below zero"

        return await self._do(request, member, form, limit, self._person, _place(request))

    async def pin(self, request: web.Request) -> web.Response:
        """POST /desk/members/{id}/pin: another PIN; it ends that member's sessions."""
        member, form = await self._form(request, PinForm)
        try:
            pin_hash = await steward.hash_pin(form.pin)
        except Refused as error:
            return await self._back(request, member, form, error, self._person)

        def reset(tx: Tx) -> str:
            name = desk_views.member_by_id(tx, _id(request)).name
            desk.reset_pin(tx, name, pin_hash)
            return f"{name} has a new PIN, and is signed out everywhere"

        return await self._do(request, member, form, reset, self._person, _place(request))

    async def steward(self, request: web.Request) -> web.Response:
        """POST /desk/members/{id}/steward: `yes` makes one, anything else unmakes one."""
        member, form = await self._form(request, StewardForm)

        def change(tx: Tx) -> str:
            name = desk_views.member_by_id(tx, _id(request)).name
            made = desk.set_steward(tx, name, form.steward == "yes")
            return f"{made.name} is {'a' if form.steward == 'yes' else 'no'} steward now"

        return await self._do(request, member, form, change, self._person, _place(request))

    # Neighbours

    async def line(self, request: web.Request) -> web.Response:
        """POST /desk/neighbours/line"""
        member, form = await self._form(request, LineForm)

        def set_line(tx: Tx) -> str:
            desk.set_line(tx, form.village, form.asset, form.amount)
            owed = f"{form.amount} {_asset(form.asset)}"
            return f"From now on {form.village} may come to owe {owed}"

        return await self._do(request, member, form, set_line, self._neighbours, NEIGHBOURS)

    async def invite(self, request: web.Request) -> web.Response:
        """POST /desk/neighbours/invite: the line is shown in the answer, once, and kept nowhere."""
        member, form = await self._form(request, InviteForm)
        made: list[invitation.Invitation] = []

        def invite(tx: Tx) -> bytes:
            seats = whole(form.seats, "the number of villages that decide")
            valid_s = whole(form.hours, "the number of hours") * 3_600
            made.append(peering.invite(tx, valid_s, seats))
            return b"An invitation was made"

        try:
            await self._once(member, f"desk:{form.form}", form.asked, invite)
            if not made:
                raise WrongState("this invitation was shown already, once: make another one")
        except Refused as error:
            return await self._back(request, member, form, error, self._neighbours)
        until = views.local_time(made[0].expires_minute * limits.MINUTE_MS)
        context = {"invitation": invitation.to_text(made[0]), "until": until}
        return await self._neighbours(request, member, context)

    async def join(self, request: web.Request) -> web.Response:
        """POST /desk/neighbours/join: take up an invitation. The same one again asks again."""
        member, form = await self._form(request, JoinForm)
        try:
            village = await self._shop.join(form.line)
        except (Refused, PeerError, Unreachable) as error:
            return await self._back(request, member, form, error, self._neighbours)
        return await self._do(
            request,
            member,
            form,
            lambda _: f"There is a new neighbour: {village}",
            self._neighbours,
            NEIGHBOURS,
        )

    # Helpers

    async def _member(self, request: web.Request) -> Member:
        """Return the steward who asks. Raises NotSignedIn; Forbidden for any other member."""
        member = await super()._member(request)
        if not member.steward:
            raise Forbidden("the desk is for this village’s stewards, and you are none")
        return member

    async def _do(
        self,
        request: web.Request,
        member: Member,
        form: Form,
        do: Callable[[Tx], str],
        show: Show,
        place: str,
        then: Callable[[], None] = lambda: None,
    ) -> web.Response:
        """Do what a form asks, once, and say so on the page at `place`; `do` returns what it says.
        `then` follows once it is stored. If it is refused, `show` the page with the form again."""
        asked = form.asked
        if isinstance(form, PinForm):
            asked = form.asked_with(self._shop.session_key)
        try:
            await self._once(member, f"desk:{form.form}", asked, lambda tx: do(tx).encode())
        except (Refused, PeerError) as error:
            return await self._back(request, member, form, error, show)
        then()
        raise web.HTTPSeeOther(f"{place}?done={form.form}#done")

    async def _back(
        self, request: web.Request, member: Member, form: Form, error: BoxError, show: Show
    ) -> web.Response:
        name = request.path.rpartition("/")[2]
        context = {name: self._again(form, error), "refused": name, "error": error.detail}
        return await show(request, member, context, status_of(error))

    async def _done(self, request: web.Request, member: Member) -> str:
        """Return what the form did that led here."""
        id_ = f"desk:{request.query.get('done', '')}"
        scope = views.scope(member)
        answer = await self._runner.read(lambda view: members.answered(view, scope, id_))
        return answer.decode() if answer else ""

    async def _members(
        self,
        request: web.Request,
        member: Member,
        more: Mapping[str, Any],
        status: int = HTTPStatus.OK,
    ) -> web.Response:
        query = " ".join(request.query.get("q", "").split())[: limits.MEMBER_NAME_CHARS_MAX]
        shown = await self._runner.read(lambda view: desk_views.people(view, query))
        context = {"people": shown, "query": query, **MEMBERS_FORMS, **more}
        return await self._page(request, member, "desk-members.html", context, status)

    async def _person(
        self,
        request: web.Request,
        member: Member,
        more: Mapping[str, Any],
        status: int = HTTPStatus.OK,
    ) -> web.Response:
        shown = await self._runner.read(lambda view: desk_views.person(view, _id(request)))
        context = {"person": shown, **MEMBER_FORMS, **more}
        return await self._page(request, member, "desk-member.html", context, status)

    async def _neighbours(
        self,
        request: web.Request,
        member: Member,
        more: Mapping[str, Any],
        status: int = HTTPStatus.OK,
    ) -> web.Response:
        shown = await self._runner.read(
            lambda view: desk_views.neighbourhood(view, self._shop.health(view), self._now())
        )
        context = {"desk": shown, "invitation": "", "until": "", **NEIGHBOURS_FORMS, **more}
        return await self._page(request, member, "desk-neighbours.html", context, status)

    async def _page(
        self,
        request: web.Request,
        member: Member,
        template: str,
        context: Mapping[str, Any],
        status: int = HTTPStatus.OK,
    ) -> web.Response:
        done = await self._done(request, member)
        common = {"here": "desk", "member": member, "done": done, "refused": "", "error": ""}
        return await self._frame.page(request, template, {**common, **context}, status)


def _asset(typed: str) -> str:
    """Return in words what was typed, `Solar_Panel` or `solar-panel`."""
    return words.asset_text(names.asset_code(typed))


def _id(request: web.Request) -> int:
    return int(request.match_info["id"])


def _place(request: web.Request) -> str:
    return f"{MEMBERS}/{request.match_info['id']}"
